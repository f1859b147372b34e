//! `dtrain stop`.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use dtrain_configs::{RunDir, StopRequest, shell_path};

use crate::cli::StopArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::running;

const POLL: Duration = Duration::from_millis(50);
/// Between two signs of life while a long evaluation or checkpoint is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Leaves the stop request in the run's directory and waits for the end.
pub fn run(args: &StopArgs, printer: &Printer) -> Result<Exit, Failure> {
    // One process asks, also under mpirun.
    if !printer.speaks() {
        return Ok(Exit::Done);
    }
    let run_dir = RunDir::new(&args.run);
    let (path, word) = (args.run.display(), shell_path(&args.run));
    if !is_running(&run_dir)? {
        let message = format!("no run is running in `{path}`");
        let hint = if run_dir.holds_a_run() {
            format!("it has ended; `dtrain resume {word}` goes on with it")
        } else {
            "give the folder that the run printed, such as `runs/<experiment>/<date_time>`".to_owned()
        };
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let request = if args.requeue { StopRequest::Requeue } else { StopRequest::User };
    let (asked, asked_at) = (Instant::now(), SystemTime::now());
    leave(&run_dir, request).map_err(|error| {
        let message = format!("`{path}` cannot be written to: {error}");
        Failure::agreed(Exit::Environment, message, Some("change its permissions, or free space".into()))
    })?;
    printer.say(&format!("asked the run in {path} to save and end"));

    let mut said = asked;
    while is_running(&run_dir)? {
        if said.elapsed() >= PATIENCE {
            said = Instant::now();
            printer.say(&format!(
                "{:.0} s: not yet; it first finishes the step, evaluation or checkpoint at hand",
                asked.elapsed().as_secs_f64()
            ));
        }
        sleep(POLL);
    }
    // A run that ended by itself in between has not heard the stop request, which must not meet its next start.
    let _ = std::fs::remove_file(run_dir.stop());
    let secs = asked.elapsed().as_secs_f64();
    printer.say(&match how_it_ended(&run_dir, asked_at) {
        Some(end) => format!("{end}, {secs:.1} s after it was asked\nnext: dtrain resume {word}"),
        None => format!("ended {secs:.1} s after it was asked, without a result: see {path}/logs"),
    });
    Ok(Exit::Done)
}

/// Leaves the stop request for rank 0, as a whole.
fn leave(run_dir: &RunDir, request: StopRequest) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(run_dir.path())?;
    file.write_all(request.text().as_bytes())?;
    Ok(file.persist(run_dir.stop()).map(drop)?)
}

/// Whether someone holds the run's lock.
fn is_running(run_dir: &RunDir) -> Result<bool, Failure> {
    running::is_running(run_dir).map_err(|error| {
        let path = run_dir.lock();
        let hint = "run the command on the machine of rank 0, or send it SIGINT".to_owned();
        let message = format!("cannot tell from `{}` whether the run is running: {error}", path.display());
        Failure::agreed(Exit::Environment, message, Some(hint))
    })
}

/// What a result that was written after `since` says.
fn how_it_ended(run_dir: &RunDir, since: SystemTime) -> Option<String> {
    let path = run_dir.result();
    let written = std::fs::metadata(&path).and_then(|file| file.modified()).ok()?;
    // File systems round times.
    if written + Duration::from_secs(2) < since {
        return None;
    }
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    let (reason, step) = (result.get("stop_reason")?.as_str()?, result.get("step")?.as_u64()?);
    let ended = if reason == "requeue" { "saved to be started again" } else { reason };
    Some(format!("{ended} after {step} steps"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_run_runs_while_its_lock_is_held() {
        let folder = std::env::temp_dir().join(format!("dtrain-stop-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run_dir = RunDir::new(&folder);
        assert!(!is_running(&run_dir).unwrap());
        let lock = File::create(run_dir.lock()).unwrap();
        assert!(!is_running(&run_dir).unwrap());
        lock.lock().unwrap();
        assert!(is_running(&run_dir).unwrap());
        drop(lock);
        assert!(!is_running(&run_dir).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_a_fresh_result_tells_the_end() {
        let folder = std::env::temp_dir().join(format!("dtrain-stop-result-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run_dir = RunDir::new(&folder);
        let now = SystemTime::now();
        assert_eq!(how_it_ended(&run_dir, now), None);
        std::fs::write(run_dir.result(), r#"{"stop_reason": "interrupted", "step": 7}"#).unwrap();
        assert_eq!(how_it_ended(&run_dir, now).as_deref(), Some("interrupted after 7 steps"));
        assert_eq!(how_it_ended(&run_dir, now + Duration::from_secs(60)), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

//! `dtrain verify resume`.

use dtrain_configs::compose;
use dtrain_front::cli::ResumeProofArgs;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;

use crate::failure::Failure;
use crate::resume_proof::{Request, Words, prove};
use crate::signals;

/// Trains the experiment twice, once with kills, and compares what is left.
pub fn run(args: &ResumeProofArgs, printer: &Printer) -> Result<Exit, Failure> {
    let hint = dtrain_comm::Hint::from_environment(&|name| std::env::var(name).ok());
    if !hint.is_ok_and(|hint| hint.is_single()) {
        let message = "`dtrain verify resume` starts its own ranks, and this process is one of several";
        let hint = "start it without mpirun or srun, and say `--world 2`".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let worlds: Vec<usize> = args.world.iter().map(|world| *world as usize).collect();
    let changes = worlds.iter().any(|world| Some(world) != worlds.first());
    let words = Words::new(&args.overrides, args.config.folder(), args.steps, changes);
    // What is wrong with the settings is said before anything is started.
    compose(words.settings(), &args.config.options())?;
    let stop = signals::watch()
        .map_err(|e| Failure::agreed(Exit::Environment, format!("signals cannot be watched: {e}"), None))?;
    let mut folder = tempfile::Builder::new().prefix("dtrain-verify-").tempdir().map_err(TrainError::from)?;
    folder.disable_cleanup(args.keep);
    if args.keep {
        printer.say(&format!("both runs are kept in {}", folder.path().display()));
    }
    let request = Request {
        words,
        worlds,
        steps: args.steps,
        kills: args.kills,
        seed: args.seed,
        folder: folder.path().to_owned(),
    };
    let proof = prove(&request, &stop, &mut |line| printer.say(line))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&proof)
            .map_err(|e| Failure::agreed(Exit::Failed, format!("the proof cannot be written: {e}"), None))?;
        fs_err::write(path, text + "\n").map_err(TrainError::from)?;
    }
    printer.data(&proof.describe());
    Ok(if proof.holds() { Exit::Done } else { Exit::Failed })
}

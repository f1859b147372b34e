//! The batch scripts of the folder `slurm/`, with the options and settings of one job.

use std::path::Path;

use dtrain_configs::shell_word;

use super::job::Job;
use crate::cli::Launcher;

/// Several tasks.
const TRAIN: &str = include_str!("../../../../slurm/train.sbatch");
/// One task.
const SINGLE_GPU: &str = include_str!("../../../../slurm/single_gpu.sbatch");
/// One run per array task.
const ARRAY: &str = include_str!("../../../../slurm/array.sbatch");

/// A worker of a sweep per array task.
const SWEEP: &str = include_str!("../../../../slurm/sweep.sbatch");

/// The line of a script at which arguments begin to matter.
const SETTINGS: &str = "# Settings: the arguments after the script's name.\n";

/// The whole script of `job`. It starts `program`, unless `DTRAIN` names another one when it runs.
pub fn render(job: &Job, program: &Path) -> String {
    let template = match (job.is_array, job.nodes * job.tasks_per_node) {
        (true, _) => ARRAY,
        (false, 1) => SINGLE_GPU,
        (false, _) => TRAIN,
    };
    filled(template, "dtrain slurm train", job, program)
}

/// The script of a worker of a sweep.
pub fn render_worker(job: &Job, program: &Path) -> String {
    filled(SWEEP, "dtrain sweep", job, program)
}

fn filled(template: &str, writer: &str, job: &Job, program: &Path) -> String {
    let mut script = format!(
        "#!/usr/bin/env bash\n# Written by `{writer}` {}. Submit it with `sbatch FILE`; further settings may follow the \
         file's name.\n",
        env!("CARGO_PKG_VERSION")
    );
    for option in &job.options {
        script.push_str(&format!("#SBATCH {option}\n"));
    }
    let body = after_options(template);
    let (before, after) = body.split_once(SETTINGS).unwrap_or(("", body));
    script.push_str(before);
    script.push_str(&settings(job, program, writer));
    script.push_str(after);
    script
}

/// What follows the last option of sbatch.
fn after_options(template: &str) -> &str {
    let Some(at) = template.rfind("\n#SBATCH ") else { return template };
    let rest = &template[at + 1..];
    rest.find('\n').map_or("", |end| &rest[end + 1..])
}

fn settings(job: &Job, program: &Path, writer: &str) -> String {
    let mut text = String::new();
    for line in &job.setup {
        let said = shell_word(&format!("the line of --setup failed: {line}"));
        text.push_str(&format!("{{ {line}\n}} || {{ printf 'error: %s\\n' {said} >&2; exit 3; }}\n"));
    }
    text.push_str(&format!(": \"${{DTRAIN:={}}}\"\n", quoted_default(&program.display().to_string())));
    if job.launcher != Launcher::Auto {
        text.push_str(&format!(": \"${{DTRAIN_LAUNCHER:={}}}\"\n", job.launcher.name()));
    }
    text.push_str(&format!(
        "# Settings: those of `{writer}`, then the arguments after the script's name.\nset --"
    ));
    for argument in &job.arguments {
        text.push(' ');
        text.push_str(&shell_word(argument));
    }
    text.push_str(" \"$@\"\n");
    text
}

/// Within `"${NAME:=...}"`.
fn quoted_default(word: &str) -> String {
    let mut text = String::new();
    for sign in word.chars() {
        if "\"\\$`}".contains(sign) {
            text.push('\\');
        }
        text.push(sign);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const TEMPLATES: [(&str, &str); 3] = [("train", TRAIN), ("single_gpu", SINGLE_GPU), ("array", ARRAY)];

    /// Each script stands alone, as users copy single ones, so that what they share is there three times.
    #[test]
    fn scripts_share_their_second_part() {
        let shared = |script: &'static str| script.split_once("\n# --- the same in every script").unwrap().1;
        for (name, template) in TEMPLATES {
            assert!(shared(template) == shared(TRAIN), "slurm/{name}.sbatch differs from slurm/train.sbatch");
        }
    }

    #[test]
    fn scripts_have_one_place_for_options_and_one_for_settings() {
        for (name, template) in TEMPLATES.into_iter().chain([("sweep", SWEEP)]) {
            assert_eq!(template.matches(SETTINGS).count(), 1, "{name}");
            let body = after_options(template);
            assert!(body.starts_with("\n# Settings"), "{name}: {}", &body[..80]);
            assert!(!body.contains("#SBATCH"), "{name}");
            for option in ["--requeue", "--open-mode=append", "--signal=B:USR1@120"] {
                assert!(template.contains(&format!("\n#SBATCH {option}\n")), "{name}: {option}");
            }
        }
    }

    fn job(arguments: &[&str], tasks_per_node: usize, is_array: bool) -> Job {
        Job {
            name: "night".into(),
            nodes: 1,
            tasks_per_node,
            options: vec!["--job-name=night".into(), "--nodes=1".into()],
            setup: Vec::new(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            launcher: Launcher::Mpirun,
            is_array,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_rendered_script_is_the_template_with_options_and_settings() {
        for (job, template) in [
            (job(&["a=1"], 1, false), SINGLE_GPU),
            (job(&["a=1"], 2, false), TRAIN),
            (job(&["f", "a=1"], 2, true), ARRAY),
        ] {
            let script = render(&job, Path::new("/opt/dtrain"));
            assert!(script.ends_with(after_options(template).split_once(SETTINGS).unwrap().1));
            let options: Vec<&str> = script.lines().filter(|line| line.starts_with("#SBATCH")).collect();
            assert_eq!(options, ["#SBATCH --job-name=night", "#SBATCH --nodes=1"]);
        }
    }

    #[test]
    fn a_line_of_the_set_up_that_fails_ends_the_job() {
        let run = |setup: &[&str]| {
            let setup = setup.iter().map(|&line| line.to_owned()).collect();
            let text =
                settings(&Job { setup, ..job(&[], 1, false) }, Path::new("dtrain"), "dtrain slurm train")
                    + "echo \"$A $B\"";
            let output = Command::new("bash").args(["-c", &text]).output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        assert_eq!(run(&["A=1; B=2 # of this shell"]), (Some(0), "1 2\n".into(), String::new()));
        let (code, said, error) = run(&["export A=it\\'s", "false 'x'"]);
        assert_eq!((code, said.as_str()), (Some(3), ""));
        assert_eq!(error, "error: the line of --setup failed: false 'x'\n");
    }

    /// A shell reads back the words that were typed, whatever signs they hold, and runs none of them.
    #[test]
    fn words_survive_the_shell() {
        let words = ["a=1", "", "tags=[a, b]", "~x", "it's", "$HOME `id` $(id)", "\"\\\n*", "ü=é"];
        let program = Path::new("/opt/my \"own\" $HOME `id` \\ } 'x'/dtrain");
        let text = settings(&job(&words, 1, false), program, "dtrain slurm train")
            + "printf '%s\\0' \"$DTRAIN\" \"$DTRAIN_LAUNCHER\" \"$@\"";
        let output = Command::new("bash")
            .args(["-c", &text, "bash", "more=1"])
            .env_remove("DTRAIN")
            .env_remove("DTRAIN_LAUNCHER")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let mut expected = vec![program.to_str().unwrap(), "mpirun"];
        expected.extend(words);
        expected.push("more=1");
        assert_eq!(printed.split_terminator('\0').collect::<Vec<_>>(), expected);
    }
}

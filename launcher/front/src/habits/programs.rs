//! Programs of others whose whole command line has one meaning here: it is answered with what is typed instead, to the last
//! word.

use std::ffi::OsString;
use std::path::Path;

use dtrain_configs::{shell_path, shell_word};

use super::{shown, usage};
use crate::failure::Failure;

/// Turns a Lightning checkpoint of self-supervised training into weights to start from.
const CONVERTER: &str = "convert_ssl_ckpt";

/// What is wrong with a command line that is another program's.
pub(crate) fn check_program(words: &[OsString]) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(program) = words.get(1) else { return Ok(()) };
    let name = Path::new(program).file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
    if name != CONVERTER {
        return Ok(());
    }
    let checkpoint = value(&words, &["--ckpt", "--checkpoint", "--input"]).unwrap_or("CHECKPOINT");
    let out = value(&words, &["--output", "--out"]).unwrap_or("FILE");
    let init_from = shell_word(&format!("init_from={checkpoint}"));
    let (path, out) = (shell_path(Path::new(checkpoint)), shell_path(Path::new(out)));
    Err(usage(
        format!("there is no verb `{}`: checkpoints of Lightning need no conversion", shown(program)),
        format!(
            "`dtrain experiment=supervised_finetune_fsdd {init_from}` starts from one as it is; of a run of dtrain \
             `dtrain export {path} --part backbone --out {out}` writes the backbone"
        ),
    ))
}

/// The value of the first of these options that is there.
fn value<'a>(words: &'a [String], options: &[&str]) -> Option<&'a str> {
    let mut pairs = words.iter().enumerate();
    pairs.find_map(|(at, word)| match word.split_once('=') {
        Some((option, value)) if options.contains(&option) => Some(value),
        None if options.contains(&word.as_str()) => words.get(at + 1).map(String::as_str),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        check_program(&words).err().map_or_else(String::new, |failure| {
            format!("{}\n{}", failure.message, failure.hint.unwrap_or_default())
        })
    }

    #[test]
    fn the_converter_of_checkpoints_is_answered_with_the_whole_new_line() {
        let line =
            ["dtrain", "scripts/convert_ssl_ckpt.py", "--ckpt", "last.ckpt", "--output", "my weights.pth"];
        assert_eq!(
            said(&line),
            "there is no verb `scripts/convert_ssl_ckpt.py`: checkpoints of Lightning need no conversion\n\
             `dtrain experiment=supervised_finetune_fsdd init_from=last.ckpt` starts from one as it is; of a run of \
             dtrain `dtrain export last.ckpt --part backbone --out 'my weights.pth'` writes the backbone"
        );
        assert!(said(&["dtrain", "convert-ssl-ckpt", "--ckpt=a"]).contains("init_from=a`"));
        assert!(
            said(&["dtrain", "convert_ssl_ckpt.py"])
                .contains("export CHECKPOINT --part backbone --out FILE`")
        );
        for other in [&["dtrain"][..], &["dtrain", "convert"], &["dtrain", "train", "convert_ssl_ckpt.py"]] {
            assert_eq!(said(other), "", "{other:?}");
        }
    }
}

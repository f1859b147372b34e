//! Words as a shell takes them, for commands that messages suggest.

use std::path::Path;

/// `word`, in quotes where a shell would take it apart or change it.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_./=:,@%+-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if word.chars().any(char::is_control) {
        // What a terminal would act on; POSIX shells of 2024, bash and zsh read this form.
        let escaped: String = word.chars().map(ansi_c).collect();
        return format!("$'{escaped}'");
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// [`shell_word`] of a path. One that begins with a dash is no option.
pub fn shell_path(path: &Path) -> String {
    let text = path.display().to_string();
    shell_word(&if text.starts_with('-') { format!("./{text}") } else { text })
}

/// Within `$'...'`.
fn ansi_c(sign: char) -> String {
    match sign {
        '\'' | '\\' => format!("\\{sign}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        sign if sign.is_ascii_control() => format!("\\x{:02x}", u32::from(sign)),
        sign if sign.is_control() => format!("\\u{:04x}", u32::from(sign)),
        sign => sign.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash makes of `word`.
    fn read_by_bash(word: &str) -> String {
        let script = format!("printf '%s' {word}");
        let done = Command::new("bash").args(["-c", &script]).env("LC_ALL", "C.UTF-8").output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        for word in [
            "runs/a",
            "my runs/it's \"one\"",
            "$HOME/`id`",
            "a;b&c|d>e<f(g)[h]{i}*?!#~",
            "back\\slash",
            "",
            "ö ü\u{a0}",
            "two\nlines\tand 'quotes'\\\u{1b}[0m",
        ] {
            assert_eq!(read_by_bash(&shell_word(word)), word, "{}", shell_word(word));
        }
        assert_eq!(shell_word("runs/a_b-1.2"), "runs/a_b-1.2");
    }

    #[test]
    fn a_path_is_no_option() {
        assert_eq!(shell_path(Path::new("--help")), "./--help");
        assert_eq!(shell_path(Path::new("my runs/-a")), "'my runs/-a'");
    }
}

//! A page of docs/howto as a test runs it: its commands one after the other, and the files that it tells to write.

/// Pages whose commands are run from the first to the last, in one folder, and not only read.
pub const HOWTOS: [&str; 3] = ["own_experiment", "train_longer", "slurm_job"];

/// A step of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowtoStep {
    /// A file that the page tells to write: the block of `yaml` or `text` below a sentence that ends with its name in backticks.
    File {
        /// Where, relative to the folder.
        path: String,
        /// Its text.
        text: String,
    },
    /// A line of a block of shell commands.
    Command {
        /// Line of the page, from 1.
        line: usize,
        /// Words as a shell takes them, without the comment at the end.
        words: Vec<String>,
        /// The file that its output goes to.
        output: Option<String>,
    },
}

/// The steps of a page.
pub fn howto_steps(page: &str) -> Vec<HowtoStep> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut last_name = None;
    while let Some((_, line)) = lines.next() {
        let kind = line.strip_prefix("```");
        let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
            last_name =
                line.trim_end().strip_suffix("`:").and_then(|line| Some(line.rsplit_once('`')?.1)).or(
                    // Blank lines between the sentence and the block.
                    last_name.filter(|_| line.trim().is_empty()),
                );
            continue;
        };
        let block: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
        match kind {
            "yaml" | "text" => {
                let path =
                    last_name.expect("a sentence that ends with the file's name stands above its text");
                let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
                steps.push(HowtoStep::File { path: path.to_owned(), text });
            }
            "sh" => steps.extend(block.iter().filter_map(|(index, line)| command(index + 1, line))),
            _ => {}
        }
        last_name = None;
    }
    steps
}

fn command(line: usize, text: &str) -> Option<HowtoStep> {
    let text = text.split(" #").next().unwrap_or_default().trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let (text, output) = match text.rsplit_once(" > ") {
        Some((text, file)) => (text, Some(file.trim().to_owned())),
        None => (text, None),
    };
    Some(HowtoStep::Command { line, words: words_of(text), output })
}

/// The words of a line as a shell takes it apart: quotes hold blanks together.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for sign in line.chars() {
        match (quote, sign) {
            (Some(end), sign) if end == sign => quote = None,
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, sign) if sign.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_commands_come_in_the_order_of_the_page() {
        let page = "# A page\n\nInto `my/a.yaml`:\n\n```yaml\nseed: 1\n```\n\n```sh\n# not this\n\
                    dtrain ls 'a b'   # all\ndtrain --cfg > x.yaml\n```\n\n```\nwhat it prints\n```\n";
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            howto_steps(page),
            [
                HowtoStep::File { path: "my/a.yaml".into(), text: "seed: 1\n".into() },
                HowtoStep::Command { line: 11, words: words("dtrain|ls|a b"), output: None },
                HowtoStep::Command { line: 12, words: words("dtrain|--cfg"), output: Some("x.yaml".into()) },
            ]
        );
    }
}

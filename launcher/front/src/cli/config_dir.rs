//! Where else settings may live.

use std::path::PathBuf;

use clap::Args;
use dtrain_configs::ComposeOptions;

/// Names the folder where `--config-dir` does not.
const VARIABLE: &str = "DTRAIN_CONFIG_DIR";

/// Where else settings may live.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigDir {
    /// Folder with more YAML groups and experiments; its files come before the built-in ones [default: DTRAIN_CONFIG_DIR]
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

impl ConfigDir {
    /// The folder that was typed, else the one of the variable. A variable that is empty names none.
    pub fn folder(&self) -> Option<PathBuf> {
        chosen(self.config_dir.clone(), std::env::var_os(VARIABLE).map(PathBuf::from))
    }

    /// What composition needs to know.
    pub fn options(&self) -> ComposeOptions {
        ComposeOptions { config_dir: self.folder() }
    }
}

fn chosen(typed: Option<PathBuf>, variable: Option<PathBuf>) -> Option<PathBuf> {
    let folder = typed.or_else(|| variable.filter(|folder| !folder.as_os_str().is_empty()))?;
    // A shell leaves `~` alone behind `--config-dir=`.
    let below_home = folder.strip_prefix("~").ok().zip(std::env::home_dir());
    Some(below_home.map_or(folder.clone(), |(below, home)| home.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_wins_over_the_variable() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(chosen(path("a"), path("b")), path("a"));
        assert_eq!(chosen(None, path("b")), path("b"));
        assert_eq!(chosen(None, path("")), None);
        assert_eq!(chosen(None, None), None);
        let home = std::env::home_dir().unwrap();
        assert_eq!(chosen(path("~/mine"), None), Some(home.join("mine")));
        assert_eq!(chosen(path("~mine"), None), path("~mine"));
    }
}

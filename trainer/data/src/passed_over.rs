//! Files and folders that are nobody's data.

/// Folders that systems leave beside what a user put there: Mac OS in zip archives, Synology, Windows, file systems.
const SYSTEM_FOLDERS: [&str; 5] =
    ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"];

/// Hidden files and folders, and what systems leave behind.
pub(crate) fn is_passed_over(name: &str) -> bool {
    name.starts_with('.') || SYSTEM_FOLDERS.contains(&name)
}

//! The commit that a folder is at, read from the files of git: a rank starts no other program.

use std::path::{Path, PathBuf};

/// Commit of the repository that `folder` lies in, in hexadecimal digits; `None` outside of one, and before its first commit.
pub fn revision(folder: &Path) -> Option<String> {
    let dot_git = folder.ancestors().map(|folder| folder.join(".git")).find(|path| path.exists())?;
    let git = if dot_git.is_dir() { dot_git } else { linked(&dot_git)? };
    let head = read(&git.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else { return commit(&head) };
    // A worktree has a head of its own, and the branches of the repository that it was made from.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    let loose = [&git, &common].into_iter().find_map(|folder| read(&folder.join(reference)));
    loose.as_deref().map_or_else(|| packed(&common, reference), commit)
}

/// A worktree or submodule has a file that says where its folder is.
fn linked(file: &Path) -> Option<PathBuf> {
    let text = read(file)?;
    let path = Path::new(text.strip_prefix("gitdir: ")?);
    Some(file.parent()?.join(path))
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    let text = read(&git.join("packed-refs"))?;
    let of_reference =
        |line: &str| line.split_once(' ').filter(|(_, name)| *name == reference).map(|(id, _)| id.to_owned());
    commit(&text.lines().find_map(of_reference)?)
}

fn commit(text: &str) -> Option<String> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_owned())
}

fn read(path: &Path) -> Option<String> {
    Some(fs_err::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn branches_loose_and_packed_heads_and_worktrees_are_found() {
        let id = |at: u8| format!("{at}{}", &ID[1..]);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("none/below")).unwrap();
        write(
            root,
            &[
                ("loose/.git/HEAD", "ref: refs/heads/main\n"),
                ("loose/.git/refs/heads/main", &format!("{}\n", id(1))),
                ("loose/src/deep/file", ""),
                ("packed/.git/HEAD", "ref: refs/heads/a/b\n"),
                (
                    "packed/.git/packed-refs",
                    &format!("# pack-refs with: peeled\n{} refs/heads/a/b\n^{}\n", id(2), id(9)),
                ),
                ("detached/.git/HEAD", &id(3)),
                ("loose/.git/worktrees/w/HEAD", "ref: refs/heads/other\n"),
                ("loose/.git/worktrees/w/commondir", "../..\n"),
                ("loose/.git/refs/heads/other", &id(4)),
                ("worktree/.git", "gitdir: ../loose/.git/worktrees/w\n"),
                ("empty/.git/HEAD", "ref: refs/heads/main\n"),
                ("odd/.git/HEAD", "../../etc/passwd\n"),
            ],
        );
        for (folder, expected) in [
            ("loose/src/deep", Some(1)),
            ("packed", Some(2)),
            ("detached", Some(3)),
            ("worktree", Some(4)),
            ("empty", None),
            ("odd", None),
        ] {
            assert_eq!(revision(&root.join(folder)), expected.map(id), "{folder}");
        }
    }
}

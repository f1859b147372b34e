//! Names of many files in one piece of memory.

/// Paths below a folder, by number.
#[derive(Debug, Default, Clone)]
pub(super) struct Names {
    text: String,
    /// End of each name in `text`.
    ends: Vec<usize>,
}

impl Names {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name of this number.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(begin..end)
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut all = Self::default();
        for name in names {
            all.text.push_str(name);
            all.ends.push(all.text.len());
        }
        all.text.shrink_to_fit();
        all.ends.shrink_to_fit();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_by_their_numbers() {
        let names: Names = ["a/1.png", "", "b/ü.jpg"].into_iter().collect();
        assert_eq!(names.len(), 3);
        assert_eq!([0, 1, 2, 3].map(|at| names.get(at)), [Some("a/1.png"), Some(""), Some("b/ü.jpg"), None]);
    }
}

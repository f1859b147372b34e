//! What trials are called: text with settings in braces, such as `lr{optimizer.lr}_seed{seed}`. A part in brackets is left out
//! where one of its settings is not there: `lr{optimizer.lr}[_lambda{method.lambda}]`.

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Setting(String),
    Optional(Vec<Part>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let parts = parse(&mut rest, false)?;
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fills it in: a name that is good for a folder.
    ///
    /// # Errors
    /// The key of a setting that is not there.
    pub fn fill(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let name = fill(&self.parts, value)?;
        Ok(name.chars().map(|c| if c.is_alphanumeric() || "._-+=,".contains(c) { c } else { '_' }).collect())
    }
}

fn parse(rest: &mut &str, inside: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let end = rest.find(['{', '[', ']']).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(end);
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let mut signs = behind.chars();
        let sign = signs.next();
        *rest = signs.as_str();
        match sign {
            None if inside => return Err("a `[` is not closed".into()),
            None => return Ok(parts),
            Some('{') => {
                let (key, behind) = rest.split_once('}').ok_or("a `{` is not closed")?;
                if key.trim().is_empty() {
                    return Err("`{}` names no setting".into());
                }
                parts.push(Part::Setting(key.trim().to_owned()));
                *rest = behind;
            }
            Some('[') if inside => return Err("a `[` stands in brackets".into()),
            Some('[') => parts.push(Part::Optional(parse(rest, true)?)),
            Some(_) if inside => return Ok(parts),
            Some(_) => return Err("a `]` closes nothing".into()),
        }
    }
}

fn fill(parts: &[Part], value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut name = String::new();
    for part in parts {
        match part {
            Part::Text(text) => name.push_str(text),
            Part::Setting(key) => name.push_str(&value(key).ok_or_else(|| key.clone())?),
            Part::Optional(parts) => name.push_str(&fill(parts, value).unwrap_or_default()),
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        Template::parse(template)?.fill(&|key| match key {
            "optimizer.lr" => Some("0.01".into()),
            "tags" => Some("[a, b/c]".into()),
            _ => None,
        })
    }

    #[test]
    fn settings_are_filled_in_and_parts_without_theirs_are_left_out() {
        assert_eq!(filled("lr{optimizer.lr}[_lambda{method.lambda}]_x").unwrap(), "lr0.01_x");
        assert_eq!(filled("[lr{optimizer.lr}_]x").unwrap(), "lr0.01_x");
        assert_eq!(filled("{tags}").unwrap(), "_a,_b_c_");
        assert_eq!(filled("lr{method.lambda}").unwrap_err(), "method.lambda");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("{a", "not closed"),
            ("[a", "not closed"),
            ("a]", "closes nothing"),
            ("{}", "names no setting"),
            ("[[a]]", "in brackets"),
        ] {
            assert!(Template::parse(text).unwrap_err().contains(word), "{text}");
        }
    }
}

//! Did you mean?

/// The candidate most like `word`, if one is close enough to be a typing mistake.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let Some(score) = likeness(&word, candidate) else { continue };
        if best.is_none_or(|(best, _)| score > best) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn likeness(word: &str, candidate: &str) -> Option<f64> {
    // Longer words are not typing mistakes of settings, and distances cost the product of the lengths.
    if word.len() > 100 {
        return None;
    }
    let lower = candidate.to_lowercase();
    let squeezed = |s: &str| s.replace(['_', '-', '.'], "");
    if squeezed(word) == squeezed(&lower) {
        return Some(2.0);
    }
    let edits = strsim::osa_distance(word, &lower);
    let allowed = match word.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    let score = strsim::jaro_winkler(word, &lower);
    let shortened = word.len() >= 4 && lower.starts_with(word);
    (edits <= allowed || shortened).then_some(score)
}

/// `a`, `b` and `c`, in backticks.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".into(),
    }
}

/// `did you mean ...? the choices are ...`
pub fn choice_hint<'a>(word: &str, choices: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let listed = listed(choices.clone());
    match closest(word, choices) {
        Some(best) => format!("did you mean `{best}`? there are {listed}"),
        None => format!("there are {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_recognized_and_other_words_are_not() {
        let keys = ["batch_size", "micro_batch_size", "max_epochs", "max_steps", "lr", "weight_decay"];
        for (typed, meant) in [
            ("batch_sise", Some("batch_size")),
            ("batchsize", Some("batch_size")),
            ("weight_decya", Some("weight_decay")),
            ("max-steps", Some("max_steps")),
            ("LR", Some("lr")),
            ("temperature", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, keys), meant, "{typed}");
        }
    }
}

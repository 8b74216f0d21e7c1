//! What somebody may have meant: the nearest known word, where a key belongs, and what other tools call it.

use strsim::damerau_levenshtein;

/// Keys of other sweep tools, and where their meaning lives here.
const ELSEWHERE: [(&str, &str); 38] = [
    ("args", "put arguments into `command`"),
    ("cmd", "it is called `command` here"),
    ("concurrency", "it is called `budget.parallel` here"),
    ("config", "the parameters go under `space`"),
    ("direction", "write `objective: { minimize: NAME }` or `{ maximize: NAME }`"),
    ("early_terminate", "it is called `early_stop` here"),
    ("entrypoint", "it is called `command` here"),
    ("environment", "environment variables go under `run.env`, a Python environment under `env`"),
    ("environment_variables", "environment variables go under `run.env`"),
    ("goal", "write `objective: { minimize: NAME }` or `{ maximize: NAME }`"),
    ("hyperparameters", "the parameters go under `space`"),
    ("max_concurrent", "it is called `budget.parallel` here"),
    ("max_concurrent_trials", "it is called `budget.parallel` here"),
    ("max_failed_trial_count", "it is called `budget.max_failures` here"),
    ("max_iter", "it is called `max` here"),
    ("max_resource", "it is called `max` here"),
    ("max_t", "it is called `max` here"),
    ("max_trial_count", "it is called `budget.trials` here"),
    ("max_trials", "it is called `budget.trials` here"),
    ("method", "it is called `search.algorithm` here"),
    ("metric", "write `objective: { minimize: NAME }` or `{ maximize: NAME }`"),
    ("min_iter", "it is called `min` here"),
    ("min_resource", "it is called `min` here"),
    ("n_jobs", "it is called `budget.parallel` here"),
    ("n_trials", "it is called `budget.trials` here"),
    ("num_samples", "it is called `budget.trials` here"),
    ("num_trials", "it is called `budget.trials` here"),
    ("parallel_trial_count", "it is called `budget.parallel` here"),
    ("parameters", "it is called `space` here"),
    ("params", "it is called `space` here"),
    ("program", "it is called `command` here: `command: [python, train.py, \"${args}\"]`"),
    ("pruner", "it is called `early_stop` here"),
    ("reduction_factor", "it is called `eta` here"),
    ("run_cap", "it is called `budget.trials` here"),
    ("sampler", "it is called `search.algorithm` here"),
    ("scheduler", "it is called `early_stop` here"),
    ("script", "it is called `command` here: `command: [python, train.py, \"${args}\"]`"),
    ("search_space", "it is called `space` here"),
];

/// The candidate that `word` most likely stands for.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    // Longer words are nobody's slip, and comparing them takes memory.
    let is_word = |text: &str| text.len() <= 64;
    if !is_word(word) {
        return None;
    }
    let word = plain(word);
    // One slip in three letters: more, and the guess is more often wrong than right.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| is_word(candidate))
        .map(|candidate| (damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `lr`?``, or the few there are, or nothing.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> Option<String> {
    if let Some(nearest) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.len() {
        0 => None,
        1..=24 => Some(format!("there {} {}", if all.len() == 1 { "is" } else { "are" }, listed(&all, "and"))),
        _ => None,
    }
}

/// What another tool's key is called here.
pub fn elsewhere(key: &str) -> Option<&'static str> {
    let mut snake = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    ELSEWHERE.iter().find(|(known, _)| *known == snake).map(|(_, advice)| *advice)
}

/// `` `a`, `b` or `c` ``
pub fn one_of(words: &[&str]) -> String {
    listed(words, "or")
}

/// `` `a`, `b` and `c` ``
pub fn all_of(words: &[&str]) -> String {
    listed(words, "and")
}

fn listed(words: &[&str], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["trials", "parallel", "max_failures"];
        assert_eq!(nearest("trails", known), Some("trials"));
        assert_eq!(nearest("Parallel", known), Some("parallel"));
        assert_eq!(nearest("max-failures", known), Some("max_failures"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["y"]), None, "one letter for another is no slip");
    }

    #[test]
    fn what_cannot_be_guessed_is_listed() {
        assert_eq!(did_you_mean("xyzzy", ["a", "b", "c"]).as_deref(), Some("there are `a`, `b` and `c`"));
        assert_eq!(did_you_mean("xyzzy", []), None);
    }

    #[test]
    fn other_tools_keys_are_known_in_their_spellings() {
        assert_eq!(elsewhere("maxTrialCount"), Some("it is called `budget.trials` here"));
        assert_eq!(elsewhere("n_trials"), Some("it is called `budget.trials` here"));
        assert!(ELSEWHERE.is_sorted(), "kept in order, so that a double entry shows");
    }
}

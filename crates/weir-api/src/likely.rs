//! What a person probably meant by a word that nobody knows.

/// The words of `candidates` that a person probably meant by `word`.
pub fn likely<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let same = candidates.iter().find(|candidate| plain(candidate) == plain(word));
    let near = || {
        candidates
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(&plain(candidate), &plain(word)), *candidate))
            .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, candidate)| candidate)
    };
    same.copied().or_else(near)
}

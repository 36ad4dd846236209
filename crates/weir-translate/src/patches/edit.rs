//! What patches do to a list of named things.

use weir_api::resources::envoy_filter::PatchOperation;

/// Puts a value into a list, or takes things out of it. Without an anchor (`is_anchor`), before and after mean the ends of the
/// list, and nothing is replaced or removed. Whether anything was done.
pub(super) fn edit<T>(items: &mut Vec<T>, operation: PatchOperation, is_anchor: Option<&dyn Fn(&T) -> bool>, value: Option<T>) -> bool {
    let before = items.len();
    let first = is_anchor.map(|is_anchor| items.iter().position(is_anchor));
    match (operation, first, value) {
        (PatchOperation::Add, _, Some(value)) | (PatchOperation::InsertAfter, None, Some(value)) => items.push(value),
        (PatchOperation::InsertFirst, _, Some(value)) | (PatchOperation::InsertBefore, None, Some(value)) => items.insert(0, value),
        (PatchOperation::InsertBefore, Some(Some(at)), Some(value)) => items.insert(at, value),
        (PatchOperation::InsertAfter, Some(Some(at)), Some(value)) => items.insert(at + 1, value),
        (PatchOperation::Replace, Some(Some(at)), Some(value)) => {
            return items.get_mut(at).map(|known| *known = value).is_some();
        }
        (PatchOperation::Remove, Some(Some(_)), _) => {
            if let Some(is_anchor) = is_anchor {
                items.retain(|item| !is_anchor(item));
            }
        }
        _ => {}
    }
    items.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use PatchOperation::{Add, InsertAfter, InsertBefore, InsertFirst, Merge, Remove, Replace};

    #[test]
    fn each_operation_finds_its_place() {
        let table = [
            (Add, None, "abax"),
            (Add, Some('b'), "abax"),
            (InsertFirst, Some('z'), "xaba"),
            (InsertBefore, Some('a'), "xaba"),
            (InsertBefore, Some('b'), "axba"),
            (InsertBefore, Some('z'), "aba"),
            (InsertBefore, None, "xaba"),
            (InsertAfter, Some('a'), "axba"),
            (InsertAfter, Some('z'), "aba"),
            (InsertAfter, None, "abax"),
            (Replace, Some('a'), "xba"),
            (Replace, Some('z'), "aba"),
            (Replace, None, "aba"),
            (Remove, Some('a'), "b"),
            (Remove, None, "aba"),
            (Merge, Some('a'), "aba"),
        ];
        for (operation, anchor, expected) in table {
            let mut items: Vec<char> = "aba".chars().collect();
            let is_anchor = |item: &char| Some(*item) == anchor;
            let is_anchor: Option<&dyn Fn(&char) -> bool> = if anchor.is_some() { Some(&is_anchor) } else { None };
            let done = edit(&mut items, operation, is_anchor, Some('x'));
            assert_eq!(items.iter().collect::<String>(), expected, "{operation:?} {anchor:?}");
            assert_eq!(done, expected != "aba", "{operation:?} {anchor:?}");
        }
    }
}

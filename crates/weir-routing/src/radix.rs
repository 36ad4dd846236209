//! A radix tree from byte strings to lists of route numbers: finds all prefixes of a path in one walk.

use smallvec::SmallVec;

/// Lists of route numbers, each in ascending order.
pub type Lists<'t> = SmallVec<[&'t [u32]; 8]>;

/// Keys and, for each, the numbers that were filed under it, in ascending order.
#[derive(Debug, Clone)]
pub struct RadixTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// What follows the parent's key.
    label: Box<[u8]>,
    /// The nodes below, ordered by the first byte of their labels, which all differ.
    children: Vec<u32>,
    values: Vec<u32>,
}

impl Default for RadixTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl RadixTree {
    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].values.is_empty()
    }

    /// Files a number under a key. Numbers come in ascending order.
    pub fn insert(&mut self, key: &[u8], value: u32) {
        let mut at = 0;
        let mut rest = key;
        loop {
            let Some(&first) = rest.first() else {
                self.nodes[at].values.push(value);
                return;
            };
            let (position, child) = match self.find_child(at, first) {
                Ok(found) => found,
                Err(position) => {
                    let leaf = self.add(Node { label: rest.into(), children: vec![], values: vec![value] });
                    self.nodes[at].children.insert(position, leaf);
                    return;
                }
            };
            let label = &self.nodes[child].label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                self.split(at, position, child, common);
            }
            at = self.nodes[at].children[position] as usize;
            rest = &rest[common..];
        }
    }

    /// The lists of all keys that `text` begins with, shortest key first.
    pub fn prefixes_of<'t>(&'t self, text: &[u8], found: &mut Lists<'t>) {
        let mut at = 0;
        let mut rest = text;
        loop {
            let node = &self.nodes[at];
            if !node.values.is_empty() {
                found.push(&node.values);
            }
            let Some(&first) = rest.first() else { return };
            let Ok((_, child)) = self.find_child(at, first) else { return };
            let Some(after) = rest.strip_prefix(&*self.nodes[child].label) else { return };
            (at, rest) = (child, after);
        }
    }

    /// The child whose label begins with `first`: its position among the children, and its number; else the
    /// position at which it would stand.
    fn find_child(&self, at: usize, first: u8) -> Result<(usize, usize), usize> {
        let children = &self.nodes[at].children;
        let found = children.binary_search_by_key(&first, |&child| self.nodes[child as usize].label[0]);
        found.map(|position| (position, children[position] as usize))
    }

    fn add(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// Puts a node between `parent` and `child` that holds the first `common` bytes of the child's label.
    fn split(&mut self, parent: usize, position: usize, child: usize, common: usize) {
        let label = std::mem::take(&mut self.nodes[child].label);
        let (start, end) = label.split_at(common);
        self.nodes[child].label = end.into();
        let middle = self.add(Node { label: start.into(), children: vec![child as u32], values: vec![] });
        self.nodes[parent].children[position] = middle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(tree: &RadixTree, text: &str) -> Vec<u32> {
        let mut found = Lists::new();
        tree.prefixes_of(text.as_bytes(), &mut found);
        found.into_iter().flatten().copied().collect()
    }

    #[test]
    fn all_prefixes_are_found_and_nothing_else() {
        let mut tree = RadixTree::default();
        for (value, key) in ["/", "/api/v1", "/api", "/apple", "", "/api"].into_iter().enumerate() {
            tree.insert(key.as_bytes(), value as u32);
        }
        assert_eq!(lookup(&tree, "/api/v1/x"), [4, 0, 2, 5, 1]);
        assert_eq!(lookup(&tree, "/apple"), [4, 0, 3]);
        assert_eq!(lookup(&tree, "/ap"), [4, 0]);
        assert_eq!(lookup(&tree, "x"), [4]);
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_a_scan_finds(keys in prop::collection::vec("[ab/]{0,6}", 0..40), text in "[ab/]{0,8}") {
            let mut tree = RadixTree::default();
            for (value, key) in keys.iter().enumerate() {
                tree.insert(key.as_bytes(), value as u32);
            }
            let mut found = lookup(&tree, &text);
            found.sort_unstable();
            let scanned: Vec<u32> = (0..keys.len() as u32).filter(|&i| text.starts_with(&keys[i as usize])).collect();
            prop_assert_eq!(found, scanned);
        }
    }
}

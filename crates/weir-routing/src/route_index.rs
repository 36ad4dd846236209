//! Finds the routes of a virtual host that a request can match, without walking them all.
//!
//! Each route is filed once, under the condition of its that selects most: an exact path, else an exact
//! header, else a prefix or an expression of the path. A lookup gathers the lists that the request leads to
//! and tries their routes in the original order, so that Envoy's rule holds: the first that matches wins.

use std::collections::HashMap;

use http::HeaderName;
use regex::bytes::RegexSet;
use smallvec::SmallVec;

use crate::matcher::RouteMatcher;
use crate::path::PathMatch;
use crate::radix::{Lists, RadixTree};
use crate::request::RequestHead;

/// With so few routes, trying each is the fastest.
const SMALL: usize = 6;

/// All expressions of one virtual host's paths may take this much memory together.
const REGEX_SET_LIMIT: usize = 64 << 20;

/// Which routes to try for a request.
#[derive(Debug, Clone, Default)]
pub struct RouteIndex {
    /// Not indexed: all routes are tried, from 0 to this.
    all: Option<u32>,
    exact: HashMap<Box<str>, Vec<u32>>,
    exact_folded: HashMap<Box<str>, Vec<u32>>,
    prefixes: RadixTree,
    prefixes_folded: RadixTree,
    headers: HashMap<HeaderName, HashMap<Box<[u8]>, Vec<u32>>>,
    regexes: Option<Regexes>,
    /// Routes that no index could file.
    rest: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Regexes {
    set: RegexSet,
    /// The route of each expression of the set.
    routes: Vec<u32>,
}

impl RouteIndex {
    /// Files the routes of a virtual host.
    pub fn build<'m>(matchers: impl ExactSizeIterator<Item = &'m RouteMatcher>) -> Self {
        let mut index = Self::default();
        if matchers.len() <= SMALL {
            index.all = Some(matchers.len() as u32);
            return index;
        }
        let mut expressions = vec![];
        for (number, matcher) in matchers.enumerate() {
            index.file(number as u32, matcher, &mut expressions);
        }
        index.file_regexes(&expressions);
        index
    }

    fn file<'m>(&mut self, number: u32, matcher: &'m RouteMatcher, expressions: &mut Vec<(u32, &'m str)>) {
        let ignore_case = matcher.path.ignore_case;
        if let PathMatch::Exact(path) = &matcher.path.path {
            let map = if ignore_case { &mut self.exact_folded } else { &mut self.exact };
            map.entry(path.clone()).or_default().push(number);
            return;
        }
        if let Some((name, value)) = matcher.headers.iter().find_map(|header| header.exact()) {
            self.headers.entry(name.clone()).or_default().entry(value.into()).or_default().push(number);
            return;
        }
        match &matcher.path.path {
            PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => {
                let tree = if ignore_case { &mut self.prefixes_folded } else { &mut self.prefixes };
                tree.insert(prefix.as_bytes(), number);
            }
            PathMatch::Regex(regex) => expressions.push((number, regex.as_str())),
            PathMatch::Exact(_) => {}
        }
    }

    fn file_regexes(&mut self, expressions: &[(u32, &str)]) {
        if expressions.is_empty() {
            return;
        }
        let routes: Vec<u32> = expressions.iter().map(|(number, _)| *number).collect();
        let patterns = expressions.iter().map(|(_, pattern)| pattern);
        match regex::bytes::RegexSetBuilder::new(patterns).size_limit(REGEX_SET_LIMIT).dfa_size_limit(REGEX_SET_LIMIT / 8).build() {
            Ok(set) => self.regexes = Some(Regexes { set, routes }),
            // Each is fine alone; only together they are too large. Then they are tried one by one.
            Err(_) => self.rest = routes,
        }
    }

    /// The first route, in the original order, for which `matches` says yes; only those that can match are tried.
    pub fn find(&self, head: &RequestHead<'_>, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        if let Some(count) = self.all {
            return (0..count).find(|&number| matches(number));
        }
        let path = head.path_only();
        let by_regex: SmallVec<[u32; 8]> = match &self.regexes {
            Some(regexes) => regexes.set.matches(path.as_bytes()).iter().map(|i| regexes.routes[i]).collect(),
            None => SmallVec::new(),
        };
        let mut lists = Lists::new();
        self.gather_paths(path, &mut lists);
        self.gather_headers(head, &mut lists);
        lists.extend([by_regex.as_slice(), self.rest.as_slice()].into_iter().filter(|list| !list.is_empty()));
        first_in_order(&mut lists, matches)
    }

    fn gather_paths<'i>(&'i self, path: &str, lists: &mut Lists<'i>) {
        lists.extend(self.exact.get(path).map(Vec::as_slice));
        self.prefixes.prefixes_of(path.as_bytes(), lists);
        if !self.exact_folded.is_empty() || !self.prefixes_folded.is_empty() {
            let folded = path.to_ascii_lowercase();
            lists.extend(self.exact_folded.get(folded.as_str()).map(Vec::as_slice));
            self.prefixes_folded.prefixes_of(folded.as_bytes(), lists);
        }
    }

    fn gather_headers<'i>(&'i self, head: &RequestHead<'_>, lists: &mut Lists<'i>) {
        if self.headers.len() <= head.headers.len() {
            for (name, values) in &self.headers {
                for value in head.headers.get_all(name) {
                    add_once(lists, values.get(value.as_bytes()));
                }
            }
        } else {
            for (name, value) in head.headers {
                add_once(lists, self.headers.get(name).and_then(|values| values.get(value.as_bytes())));
            }
        }
    }
}

/// A header that repeats a value leads to the same list again.
fn add_once<'i>(lists: &mut Lists<'i>, list: Option<&'i Vec<u32>>) {
    if let Some(list) = list
        && !lists.iter().any(|known| std::ptr::eq(*known, list.as_slice()))
    {
        lists.push(list);
    }
}

/// Tries the numbers of several ascending lists in ascending order.
fn first_in_order(lists: &mut Lists<'_>, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
    loop {
        let lowest = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
        let number = lowest[0];
        *lowest = &lowest[1..];
        if matches(number) {
            return Some(number);
        }
    }
}

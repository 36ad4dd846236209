//! Finds the routes of a virtual host that a request can match, without walking them all.
//!
//! Each route is filed once, under the condition of its that selects most: an exact path, else an exact header, else how the
//! path begins; of an expression that is the text before its first special sign. What begins with none is looked for by all
//! such expressions at once. A lookup gathers the lists that the request leads to and tries their routes in the original order,
//! so that Envoy's rule holds: the first that matches wins.

use regex::bytes::RegexSet;
use smallvec::SmallVec;
use weir_http1::{HeaderName, Headers};

use crate::map::Map;
use crate::matcher::RouteMatcher;
use crate::path::PathMatch;
use crate::prefix_index::{Lists, PrefixIndex};
use crate::text_match::literal_prefix;

/// With so few routes, trying each is the fastest.
const SMALL: usize = 6;

/// All expressions of one virtual host's paths may take this much memory together.
const REGEX_SET_LIMIT: usize = 64 << 20;

/// Which routes to try for a request.
#[derive(Debug, Clone)]
pub enum RouteIndex {
    /// All, from 0 to this.
    All(u32),
    /// Those that are filed under what the request has.
    Filed(Box<Files>),
}

/// Routes, each filed under one of its conditions.
#[derive(Debug, Clone, Default)]
pub struct Files {
    exact: Map<Box<str>, Vec<u32>>,
    exact_folded: Map<Box<str>, Vec<u32>>,
    prefixes: PrefixIndex,
    prefixes_folded: PrefixIndex,
    headers: Map<HeaderName, Map<Box<[u8]>, Vec<u32>>>,
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
        if matchers.len() <= SMALL {
            return Self::All(matchers.len() as u32);
        }
        let (mut files, mut expressions) = (Files::default(), vec![]);
        for (number, matcher) in matchers.enumerate() {
            files.file(number as u32, matcher, &mut expressions);
        }
        files.file_regexes(&expressions);
        Self::Filed(Box::new(files))
    }

    /// The first route, in the original order, for which `matches` says yes; only those that can match are tried. `path` is
    /// without the query.
    pub fn find(&self, path: &str, headers: &Headers, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        match self {
            Self::All(count) => (0..*count).find(|&number| matches(number)),
            Self::Filed(files) => files.find(path, headers, matches),
        }
    }
}

impl Files {
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
                let index = if ignore_case { &mut self.prefixes_folded } else { &mut self.prefixes };
                index.insert(prefix.as_bytes(), number);
            }
            PathMatch::Regex(regex) => match literal_prefix(regex.as_str()) {
                // All paths begin with a slash: that alone selects nothing.
                prefix if prefix.len() <= 1 => expressions.push((number, regex.as_str())),
                prefix => self.prefixes.insert(&prefix, number),
            },
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

    fn find(&self, path: &str, headers: &Headers, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let by_regex: SmallVec<[u32; 8]> = match &self.regexes {
            Some(regexes) => regexes.set.matches(path.as_bytes()).iter().map(|i| regexes.routes[i]).collect(),
            None => SmallVec::new(),
        };
        let mut lists = Lists::new();
        self.gather_paths(path, &mut lists);
        self.gather_headers(headers, &mut lists);
        for list in [by_regex.as_slice(), self.rest.as_slice()] {
            if !list.is_empty() {
                lists.push(list);
            }
        }
        match lists.as_slice() {
            [only] => only.iter().copied().find(|&number| matches(number)),
            _ => first_in_order(&mut lists, matches),
        }
    }

    fn gather_paths<'i>(&'i self, path: &str, lists: &mut Lists<'i>) {
        if let Some(list) = self.exact.get(path) {
            lists.push(list);
        }
        self.prefixes.prefixes_of(path.as_bytes(), lists);
        if !self.exact_folded.is_empty() || !self.prefixes_folded.is_empty() {
            let folded = path.to_ascii_lowercase();
            lists.extend(self.exact_folded.get(folded.as_str()).map(Vec::as_slice));
            self.prefixes_folded.prefixes_of(folded.as_bytes(), lists);
        }
    }

    fn gather_headers<'i>(&'i self, headers: &Headers, lists: &mut Lists<'i>) {
        if self.headers.len() <= headers.len() {
            for (name, values) in &self.headers {
                for value in headers.get_all(name) {
                    add_once(lists, values.get(value.as_bytes()));
                }
            }
        } else {
            for (name, value) in headers {
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

#[cfg(test)]
mod tests {
    use weir_http1::{HeaderName, HeaderValue};
    use weir_xds::matcher::string_matcher::MatchPattern;
    use weir_xds::matcher::{RegexMatcher, StringMatcher};
    use weir_xds::route::header_matcher::HeaderMatchSpecifier;
    use weir_xds::route::route_match::PathSpecifier;
    use weir_xds::route::{HeaderMatcher, RouteMatch};

    use super::*;

    const MANY: u32 = 1_000;

    fn of_path(path: PathSpecifier) -> RouteMatch {
        RouteMatch { path_specifier: Some(path), ..Default::default() }
    }

    fn of_header(value: String) -> RouteMatch {
        let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact(value)), ..Default::default() };
        let specifier = Some(HeaderMatchSpecifier::StringMatch(exact));
        let header = HeaderMatcher { name: "x-route".to_owned(), header_match_specifier: specifier, ..Default::default() };
        RouteMatch { headers: vec![header], ..of_path(PathSpecifier::Prefix("/".to_owned())) }
    }

    /// The cost of a lookup does not grow with the number of routes: the last of many is the only one that is tried.
    #[test]
    fn of_many_routes_only_the_right_one_is_tried() {
        let regex = |regex| PathSpecifier::SafeRegex(RegexMatcher { regex, ..Default::default() });
        let kinds: [&dyn Fn(u32) -> RouteMatch; 5] = [
            &|number| of_path(PathSpecifier::Path(format!("/r{number:04}"))),
            &|number| of_path(PathSpecifier::Prefix(format!("/r{number:04}"))),
            &|number| of_path(regex(format!("/r{number:04}[a-z]*"))),
            &|number| of_path(regex(format!("/(r{number:04}|x)"))),
            &|number| of_header(number.to_string()),
        ];
        for (kind, make) in kinds.into_iter().enumerate() {
            let matchers: Vec<RouteMatcher> = (0..MANY).map(|number| RouteMatcher::compile(&make(number)).expect("valid")).collect();
            let index = RouteIndex::build(matchers.iter());
            let last = MANY - 1;
            let mut headers = Headers::new();
            headers.insert(HeaderName::from_static("x-route"), HeaderValue::from(last));
            let mut tried = vec![];
            let found = index.find(&format!("/r{last:04}"), &headers, |number| {
                tried.push(number);
                true
            });
            assert_eq!((found, tried.as_slice()), (Some(last), [last].as_slice()), "kind {kind}");
        }
    }

    #[test]
    fn the_order_of_the_configuration_decides_between_kinds() {
        let mut routes: Vec<RouteMatch> = (0..SMALL as u32).map(|number| of_path(PathSpecifier::Path(format!("/{number}")))).collect();
        routes.extend([
            of_path(PathSpecifier::Prefix("/a".to_owned())),
            of_header("1".to_owned()),
            of_path(PathSpecifier::Path("/ab".to_owned())),
        ]);
        let matchers: Vec<RouteMatcher> = routes.iter().map(|route| RouteMatcher::compile(route).expect("valid")).collect();
        let index = RouteIndex::build(matchers.iter());
        let headers = [(HeaderName::from_static("x-route"), HeaderValue::from_static("1"))].into_iter().collect();
        let mut tried = vec![];
        index.find("/ab", &headers, |number| {
            tried.push(number);
            false
        });
        assert_eq!(tried, [6, 7, 8]);
    }
}

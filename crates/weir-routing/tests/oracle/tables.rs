//! Virtual hosts and routes.

use proptest::prelude::*;
use weir_routing::RouteTable;

use crate::generate::{configuration, request};
use crate::naive;

/// So many tables, each asked so often: 100,000 pairs.
const TABLES: u32 = 1_000;
const REQUESTS: usize = 100;

proptest! {
    #![proptest_config(ProptestConfig { cases: TABLES, ..Default::default() })]

    #[test]
    fn the_index_finds_what_a_walk_finds(config in configuration(), requests in prop::collection::vec(request(), REQUESTS)) {
        let table = RouteTable::compile(&config, None).unwrap();
        for request in &requests {
            prop_assert_eq!(table.decide(&request.head()), naive::decide(&config, &request.head()), "{:?}", request);
        }
    }
}

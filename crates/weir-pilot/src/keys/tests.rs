use super::*;

fn wanted(addresses: &[&str]) -> BTreeSet<KeyAddress> {
    addresses.iter().map(|address| KeyAddress::Keys((*address).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_a_policy_that_is_away_for_a_moment() {
    let (mut known, begin) = (BTreeMap::new(), Instant::now());
    note(&mut known, &wanted(&["a"]), begin);
    for address in known.values_mut() {
        address.next = Some(begin + REFRESH);
    }
    // It is deleted, and written anew.
    note(&mut known, &wanted(&[]), begin + RETRY);
    assert_eq!(known.len(), 1);
    note(&mut known, &wanted(&["a"]), begin + REFRESH);
    assert!(known.values().all(|known| known.ends.is_none() && known.next == Some(begin + REFRESH)));
    // It is deleted for good.
    note(&mut known, &wanted(&[]), begin + REFRESH);
    note(&mut known, &wanted(&[]), begin + REFRESH * 2 - RETRY);
    assert_eq!(known.len(), 1);
    note(&mut known, &wanted(&[]), begin + REFRESH * 2);
    assert!(known.is_empty());
}

#[tokio::test]
async fn a_fetch_that_breaks_off_is_settled_as_one_that_failed() {
    let mut fetches = Fetches::default();
    let [address] = wanted(&["a"]).into_iter().collect::<Vec<_>>().try_into().expect("one");
    fetches.begin(address, async { std::future::pending().await });
    fetches.tasks.abort_all();
    let (address, fetched) = fetches.ended().await.expect("one that goes on");
    assert_eq!(address.address(), "a");
    assert!(fetched.is_err_and(|error| error.starts_with("the fetch broke off")));
    assert!(fetches.ended().await.is_none());
}

#[test]
fn what_began_together_does_not_go_on_so() {
    let times: BTreeSet<Duration> = (0..100).map(|_| about(REFRESH)).collect();
    assert!(times.len() > 50 && times.iter().all(|time| *time >= REFRESH.mul_f64(0.89) && *time <= REFRESH.mul_f64(1.11)));
}

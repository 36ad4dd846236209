//! Where tokens are found, and what is left of the request.

use super::*;

/// The path afterwards, and the headers that are gone.
fn rest(request: &Request, policy: &JwtPolicy) -> (Option<String>, Vec<String>) {
    let changes = request.passed(policy).changes;
    (changes.path, changes.removed.iter().map(|name| name.as_str().to_owned()).collect())
}

#[test]
fn tokens_stand_where_the_configuration_says() {
    let good = token(json!({}));
    let usual = of_provider(&["r1"], json!({}));
    let kept = of_provider(&["r1"], json!({"forward": true}));
    let own = of_provider(&["r1"], json!({"fromHeaders": [{"name": "X-Token"}, {"name": "x-t", "valuePrefix": "T "}]}));
    let others = of_provider(&["r1"], json!({"fromParams": ["t"], "fromCookies": ["c"]}));
    let of = |name: &str, value: String| Request::new(&[(name, &value)]);
    let at = |path: String| Request::new(&[]).at(&path);
    let cases = [
        (&usual, of("authorization", format!("Bearer {good}")), Some((None, "authorization"))),
        (&usual, of("authorization", format!("Bearer   {good}")), Some((None, "authorization"))),
        (&usual, of("authorization", format!("x Bearer {good}")), Some((None, "authorization"))),
        (&usual, of("authorization", format!("bearer {good}")), None),
        (&usual, of("authorization", format!("BearerX {good}")), None),
        (&usual, of("authorization", "Bearer".into()), None),
        (&usual, of("authorization", format!("Basic {good}")), None),
        (&usual, of("x-token", good.clone()), None),
        (&usual, at(format!("/p?access_token={good}")), Some((Some("/p"), ""))),
        (&usual, at(format!("/p?b=%7E&access_token={good}&a=1")), Some((Some("/p?a=1&b=~"), ""))),
        (&usual, at(format!("/p?Access_token={good}")), None),
        (&kept, of("authorization", format!("Bearer {good}")), Some((None, ""))),
        (&kept, at(format!("/p?access_token={good}")), Some((None, ""))),
        (&own, of("x-token", good.clone()), Some((None, "x-token"))),
        (&own, of("x-t", format!("T {good}")), Some((None, "x-t"))),
        (&own, of("x-t", good.clone()), None),
        (&own, of("authorization", format!("Bearer {good}")), None),
        (&own, at(format!("/p?access_token={good}")), None),
        (&others, at(format!("/p?t={good}")), Some((Some("/p"), ""))),
        (&others, of("cookie", format!("a=b; c={good}")), Some((None, ""))),
        (&others, of("authorization", format!("Bearer {good}")), None),
    ];
    for (policy, request, expected) in cases {
        let what = format!("{} {:?}", request.path, request.headers);
        match expected {
            None => assert_eq!(request.told(policy), MISSING, "{what}"),
            Some((path, removed)) => {
                let expected = (path.map(str::to_owned), removed.split_whitespace().map(str::to_owned).collect());
                assert_eq!(rest(&request, policy), expected, "{what}");
            }
        }
    }
}

#[test]
fn a_bad_token_beside_a_good_one_is_refused() {
    let policy = of_provider(&["r1"], json!({"fromHeaders": [{"name": "x-a"}, {"name": "x-b"}], "fromParams": ["t"]}));
    let (good, bad) = (token(json!({})), token(json!({"exp": 1})));
    let two = |a: &str, b: &str| Request::new(&[("x-a", a), ("x-b", b)]);
    assert_eq!(two(&good, &good).told(&policy), "");
    assert_eq!(two(&good, &bad).told(&policy), "Jwt is expired");
    assert_eq!(two(&bad, &good).told(&policy), "Jwt is expired");
    assert_eq!(Request::new(&[("x-a", &good), ("x-a", "what")]).told(&policy), NO_FORM);
    assert_eq!(Request::new(&[("x-a", &good)]).at(&format!("/?t={bad}")).told(&policy), "Jwt is expired");
}

#[test]
fn bytes_that_are_no_text_are_no_token() {
    let policy = of_provider(&["r1"], json!({}));
    let mut request = Request::new(&[]);
    request.headers.append(weir_http1::header::AUTHORIZATION, HeaderValue::from_bytes(b"Bearer a.\xff.c").expect("a value"));
    assert_eq!(request.told(&policy), "Jwt header is an invalid Base64url encoded");
    assert_eq!(Request::new(&[]).at("/?access_token=%FF.%00.%80").told(&policy), "Jwt header is an invalid Base64url encoded");
}

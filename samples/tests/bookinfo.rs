//! Bookinfo's services, alone and together, without a mesh between them.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use support::{Answer, FREE, Running, ask, instance, nobody};

async fn start(name: &str) -> Running {
    Running::start(instance(name)).await
}

async fn start_reviews(name: &str, ratings: SocketAddr) -> Running {
    Running::start(instance(name).calling("ratings", ratings)).await
}

async fn ask_as(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    ask(address, request.body(Full::default()).unwrap()).await
}

/// A service that takes one request, hands it out as text, and answers 500.
async fn spy() -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(FREE).await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, request)
}

#[tokio::test]
async fn details_tells_the_facts() {
    let details = start("details-v1").await;
    let told = json!({
        "id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "publisher": "PublisherA",
        "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890",
    });
    let answer = details.get("/details/0").await;
    assert_eq!((answer.json(), answer.header("x-instance")), (told, "details-v1"));
    assert_eq!(details.json("/health").await, json!({ "status": "Details is healthy" }));
    assert_eq!(details.get("/details/x").await.status, 400);
    assert_eq!(details.get("/reviews/0").await.status, 404);
}

#[tokio::test]
async fn ratings_tells_the_stars() {
    let ratings = start("ratings-v1").await;
    assert_eq!(ratings.json("/ratings/0").await, json!({ "id": 0, "ratings": { "Reviewer1": 5, "Reviewer2": 4 } }));
    assert_eq!(ratings.json("/health").await, json!({ "status": "Ratings is healthy" }));
    assert_eq!(ratings.get("/ratings/x").await.status, 400);
}

fn ratings_in(reviews: &Value) -> Vec<Option<&Value>> {
    reviews["reviews"].as_array().unwrap().iter().map(|review| review.get("rating")).collect()
}

#[tokio::test]
async fn reviews_v1_has_no_stars() {
    let reviews = start_reviews("reviews-v1", nobody().await).await;
    let told = reviews.json("/reviews/0").await;
    assert_eq!((&told["id"], &told["podname"], &told["clustername"]), (&json!("0"), &json!("reviews-v1"), &json!("weir")));
    assert_eq!((&told["reviews"][0]["reviewer"], &told["reviews"][1]["reviewer"]), (&json!("Reviewer1"), &json!("Reviewer2")));
    assert!(told["reviews"][0]["text"].is_string());
    assert_eq!(ratings_in(&told), [None, None]);
    assert_eq!(reviews.json("/health").await, json!({ "status": "Reviews is healthy" }));
    assert_eq!(reviews.get("/reviews/x").await.status, 400);
}

#[tokio::test]
async fn reviews_v2_and_v3_have_stars_of_their_colour() {
    let ratings = start("ratings-v1").await;
    for (name, color) in [("reviews-v2", "black"), ("reviews-v3", "red")] {
        let reviews = start_reviews(name, ratings.address).await;
        let told = reviews.json("/reviews/0").await;
        assert_eq!(told["podname"], name);
        assert_eq!(ratings_in(&told), [Some(&json!({ "stars": 5, "color": color })), Some(&json!({ "stars": 4, "color": color }))]);
    }
}

#[tokio::test]
async fn without_ratings_reviews_go_on() {
    let unavailable = json!({ "error": "Ratings service is currently unavailable" });
    let (failing, request) = spy().await;
    let details = start("details-v1").await;
    for ratings in [nobody().await, failing, details.address] {
        let reviews = start_reviews("reviews-v3", ratings).await;
        let answer = reviews.get("/reviews/0").await;
        assert_eq!(answer.status, 200);
        assert_eq!(ratings_in(&answer.json()), [Some(&unavailable), Some(&unavailable)]);
    }
    request.await.unwrap();
}

/// productpage with these services behind it.
async fn start_page(details: SocketAddr, reviews: SocketAddr, ratings: SocketAddr) -> Running {
    let page = instance("productpage-v1").calling("details", details).calling("reviews", reviews).calling("ratings", ratings);
    Running::start(page).await
}

#[tokio::test]
async fn the_page_shows_details_and_reviews() {
    let (details, ratings) = (start("details-v1").await, start("ratings-v1").await);
    for (name, stars, word) in [("reviews-v1", 0, "no stars"), ("reviews-v2", 9, "black stars"), ("reviews-v3", 9, "red stars")] {
        let reviews = start_reviews(name, ratings.address).await;
        let page = start_page(details.address, reviews.address, ratings.address).await.get("/productpage").await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
        let page = page.text();
        for text in ["The Comedy of Errors", "123-1234567890", "Reviewer1", "details-v1", "productpage-v1", name, word, "Sign in"] {
            assert!(page.contains(text), "{text} in {page}");
        }
        let color = word.split(' ').next().unwrap();
        assert_eq!(page.matches(&format!(r#"<span class="{color}">★"#)).count(), stars);
        assert!(!page.contains("{{") && !page.contains("Sorry"), "{page}");
    }
}

#[tokio::test]
async fn the_page_shows_what_is_not_there() {
    let (details, reviews) = (start("details-v1").await, start_reviews("reviews-v2", nobody().await).await);
    let (no_details, no_reviews) =
        ("Sorry, product details are currently unavailable for this book.", "Sorry, product reviews are currently unavailable");

    let page = start_page(nobody().await, reviews.address, nobody().await).await.get("/productpage").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(no_details) && page.text().contains("Reviewer1") && !page.text().contains(no_reviews));
    assert!(page.text().contains("Ratings service is currently unavailable"));

    let page = start_page(details.address, nobody().await, nobody().await).await.get("/productpage").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(no_reviews) && page.text().contains("1234567890") && !page.text().contains(no_details));
}

#[tokio::test]
async fn the_api_passes_on_what_the_services_say() {
    let (details, ratings) = (start("details-v1").await, start("ratings-v1").await);
    let reviews = start_reviews("reviews-v3", ratings.address).await;
    let page = start_page(details.address, reviews.address, ratings.address).await;
    assert_eq!(page.json("/api/v1/products").await[0]["title"], "The Comedy of Errors");
    assert_eq!(page.json("/api/v1/products/0").await, details.json("/details/0").await);
    assert_eq!(page.json("/api/v1/products/0/reviews").await, reviews.json("/reviews/0").await);
    assert_eq!(page.json("/api/v1/products/0/ratings").await, ratings.json("/ratings/0").await);
    assert_eq!(page.get("/api/v1/products/x").await.status, 400);
    assert_eq!(page.get("/api/v1/products/0/opinions").await.status, 404);
}

#[tokio::test]
async fn the_api_says_what_failed() {
    let (failing, _request) = spy().await;
    let page = start_page(failing, nobody().await, start("details-v1").await.address).await;
    let answer = page.get("/api/v1/products/0").await;
    let sorry = json!({ "error": "Sorry, product details are currently unavailable for this book." });
    assert_eq!((answer.status.as_u16(), answer.json()), (500, sorry), "the service's own status");
    assert_eq!(page.get("/api/v1/products/0/reviews").await.status, 503, "nobody answered");
}

#[tokio::test]
async fn signing_in_and_out() {
    let page = start_page(nobody().await, nobody().await, nobody().await).await;
    let form = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    let answer = ask(page.address, form.body("username=J%C3%A9r%C3%B4me+K&password=secret".into()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/productpage"));
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(cookie, "user=J%C3%A9r%C3%B4me%20K");

    let signed_in = ask_as(page.address, "/productpage", &[("cookie", &cookie)]).await;
    assert!(signed_in.text().contains("Jérôme K") && signed_in.text().contains("Sign out"));
    assert!(page.get("/login?username=jason").await.header("set-cookie").starts_with("user=jason;"));
    assert_eq!(page.get("/login?username=").await.header("set-cookie"), "");
    assert_eq!(page.get("/login?username=a%0Ab").await.status, 400);
    assert!(page.get("/logout").await.header("set-cookie").contains("Max-Age=0"));
    let large = Request::post("/login").body(vec![b'x'; 100_000].into()).unwrap();
    assert_eq!(ask(page.address, large).await.status, 413);
}

#[tokio::test]
async fn a_name_is_text_and_not_html() {
    let page = start_page(nobody().await, nobody().await, nobody().await).await;
    let answer = ask_as(page.address, "/productpage", &[("end-user", "<script>alert(1)</script>")]).await;
    assert!(answer.text().contains("&lt;script&gt;") && !answer.text().contains("<script>"));
}

#[tokio::test]
async fn what_identifies_a_request_travels_on() {
    let headers = [
        ("cookie", "user=jason"),
        ("x-request-id", "r1"),
        ("x-b3-traceid", "t1"),
        ("traceparent", "00-a-b-01"),
        ("tracestate", "s=1"),
        ("user-agent", "curl/8"),
        ("authorization", "Bearer x"),
        ("accept", "text/html"),
        ("x-other", "1"),
    ];
    let (details, request) = spy().await;
    let page = start_page(details, nobody().await, nobody().await).await;
    ask_as(page.address, "/api/v1/products/0", &headers).await;
    let request = request.await.unwrap();
    assert!(request.starts_with("GET /details/0 HTTP/1.1\r\n"), "{request}");
    let lines: Vec<&str> = request.lines().collect();
    for line in ["host: details:9080", "end-user: jason", "x-request-id: r1", "x-b3-traceid: t1", "traceparent: 00-a-b-01"] {
        assert!(lines.contains(&line), "{line} in {request}");
    }
    for line in ["tracestate: s=1", "user-agent: curl/8", "authorization: Bearer x"] {
        assert!(lines.contains(&line), "{line} in {request}");
    }
    assert!(!request.contains("cookie") && !request.contains("x-other") && !request.contains("accept"), "{request}");
}

#[tokio::test]
async fn reviews_hands_on_the_user() {
    let (ratings, request) = spy().await;
    let reviews = start_reviews("reviews-v2", ratings).await;
    ask_as(reviews.address, "/reviews/0", &[("end-user", "jason"), ("x-request-id", "r1")]).await;
    let request = request.await.unwrap();
    for line in ["host: ratings:9080", "end-user: jason", "x-request-id: r1"] {
        assert!(request.lines().any(|other| other == line), "{line} in {request}");
    }
}

#[tokio::test]
async fn the_header_wins_over_the_cookie() {
    let (details, request) = spy().await;
    let page = start_page(details, nobody().await, nobody().await).await;
    ask_as(page.address, "/api/v1/products/0", &[("cookie", "user=jason"), ("end-user", "maria")]).await;
    let request = request.await.unwrap();
    assert!(request.contains("end-user: maria") && !request.contains("jason"), "{request}");
}

#[tokio::test]
async fn the_pages_own_files() {
    let page = start_page(nobody().await, nobody().await, nobody().await).await;
    let html = page.get("/productpage").await;
    let links = html.text().split("=\"/static/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for file in links {
        assert_eq!(page.get(&format!("/static/{file}")).await.status, 200, "{file}");
    }
    assert!(page.get("/static/style.css").await.header("content-type").starts_with("text/css"));
    assert_eq!(page.get("/static/none.css").await.status, 404);
    assert!(page.get("/").await.text().contains("/api/v1/products/0/reviews"));
    assert_eq!(page.json("/health").await, json!({ "status": "Product page is healthy" }));
    for text in [html.text(), page.get("/static/style.css").await.text()] {
        assert!(!text.replace("http://www.w3.org/2000/svg", "").contains("://"), "nothing comes from elsewhere");
    }
}

//! The page about the book, from what the services said of it.

use serde_json::Value;

use super::sources::{DETAILS, Failure, Part, REVIEWS, Source};
use super::template::{escape, fill};
use super::{SUMMARY, TITLE};

/// The rows of the table of details: the key in the JSON, and the words for people.
const ROWS: [(&str, &str); 8] = [
    ("author", "Author"),
    ("year", "Year"),
    ("type", "Type"),
    ("pages", "Pages"),
    ("publisher", "Publisher"),
    ("language", "Language"),
    ("ISBN-10", "ISBN-10"),
    ("ISBN-13", "ISBN-13"),
];

/// The whole page, as the instance `name` shows it to `user`.
pub(super) fn render(name: &str, user: Option<&str>, details: &Part, reviews: &Part) -> String {
    let values = [
        ("title", TITLE),
        ("summary", SUMMARY),
        ("instance", &*escape(name)),
        ("session", &session(user)),
        ("details", &section(&DETAILS, details, details_table)),
        ("details_by", &answered_by(details)),
        ("reviews", &section(&REVIEWS, reviews, review_list)),
        ("reviews_by", &answered_by(reviews)),
        ("stars", stars_word(reviews)),
        ("way", &way(name, details, reviews)),
    ];
    fill(include_str!("assets/page.html"), &values)
}

fn session(user: Option<&str>) -> String {
    match user {
        Some(user) => fill(include_str!("assets/signed-in.html"), &[("user", &escape(user)), ("initial", &initial(user))]),
        None => include_str!("assets/sign-in.html").to_owned(),
    }
}

fn initial(user: &str) -> String {
    let initial: String = user.chars().take(1).flat_map(char::to_uppercase).collect();
    escape(&initial).into_owned()
}

fn section(source: &Source, part: &Part, show: fn(&Value) -> String) -> String {
    match &part.content {
        Ok(content) => show(content),
        Err(failure) => sorry(source, failure),
    }
}

fn sorry(source: &Source, failure: &Failure) -> String {
    let values = [("apology", source.apology), ("service", source.service), ("reason", &*escape(&failure.reason))];
    fill(include_str!("assets/sorry.html"), &values)
}

/// Who gave a part of the page, as a label; nothing if nobody did.
fn answered_by(part: &Part) -> String {
    match (&part.content, speaker(part)) {
        (Ok(_), Some(instance)) => format!(r#"<span class="by">{}</span>"#, escape(instance)),
        _ => String::new(),
    }
}

/// reviews tells its name in its answer, the others in a header.
fn speaker(part: &Part) -> Option<&str> {
    let told = part.content.as_ref().ok().and_then(|content| content.get("podname")).and_then(Value::as_str);
    told.or(part.instance.as_deref())
}

fn details_table(details: &Value) -> String {
    let rows = ROWS.iter().filter_map(|(key, label)| {
        let value = details.get(key)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("<div><dt>{label}</dt><dd>{}</dd></div>\n", escape(&text)))
    });
    format!("<dl>\n{}</dl>", rows.collect::<String>())
}

fn review_list(reviews: &Value) -> String {
    let reviews = reviews.get("reviews").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    reviews.iter().map(review).collect()
}

fn review(review: &Value) -> String {
    let text = |key| escape(review.get(key).and_then(Value::as_str).unwrap_or_default());
    let stars = review.get("rating").map(rating).unwrap_or_default();
    fill(include_str!("assets/review.html"), &[("text", &text("text")), ("reviewer", &text("reviewer")), ("stars", &stars)])
}

fn rating(rating: &Value) -> String {
    if let Some(error) = rating.get("error").and_then(Value::as_str) {
        return format!(r#"<p class="no-rating">{}</p>"#, escape(error));
    }
    let given = rating.get("stars").and_then(Value::as_u64).unwrap_or(0).min(5);
    let color = if rating.get("color").and_then(Value::as_str) == Some("red") { "red" } else { "black" };
    let star = |number: u64| format!(r#"<span class="{}">★</span>"#, if number <= given { color } else { "none" });
    let row: String = (1..=5).map(star).collect();
    format!(r#"<p class="stars" role="img" aria-label="{given} of 5 stars, {color}">{row}</p>"#)
}

/// What this version of reviews does about stars.
fn stars_word(reviews: &Part) -> &'static str {
    let Ok(content) = &reviews.content else { return "" };
    match content.pointer("/reviews/0/rating") {
        None => "no stars",
        Some(rating) if rating.get("error").is_some() => "stars unavailable",
        Some(rating) if rating.get("color").and_then(Value::as_str) == Some("red") => "red stars",
        Some(_) => "black stars",
    }
}

/// The way that this request took through the mesh.
fn way(name: &str, details: &Part, reviews: &Part) -> String {
    let ratings = match reviews.content.as_ref().ok().and_then(|content| content.pointer("/reviews/0/rating")) {
        None => String::new(),
        Some(rating) => format!("<i>→</i>{}", stop("ratings", rating.get("error").is_none())),
    };
    let branch = |service, part: &Part| stop(speaker(part).unwrap_or(service), part.content.is_ok());
    let values = [
        ("page", &*stop(name, true)),
        ("details", &branch(DETAILS.service, details)),
        ("reviews", &branch(REVIEWS.service, reviews)),
        ("ratings", &ratings),
    ];
    fill(include_str!("assets/way.html"), &values)
}

fn stop(name: &str, well: bool) -> String {
    let class = if well { "stop" } else { "stop failed" };
    format!(r#"<span class="{class}">{}</span>"#, escape(name))
}

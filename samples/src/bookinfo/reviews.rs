//! reviews: what two readers say. v1 shows no stars, v2 and v3 ask ratings for them.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::forwarded::forwarded;
use super::{discard, health, product_id};
use crate::caller::Caller;
use crate::http::{Application, Body, Refusal, json};

/// Shorter than the caller's own patience, so that slow ratings cost the stars and not the reviews.
const PATIENCE: Duration = Duration::from_secs(8);

const TEXTS: [(&str, &str); 2] = [
    ("Reviewer1", "Two pairs of twins, one very confused town: this play still makes a whole house laugh. Wonderful slapstick!"),
    ("Reviewer2", "Great fun from the first mistake to the last, even if Shakespeare has written deeper plays."),
];

/// The colour of a version's stars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stars {
    /// v2's.
    Black,
    /// v3's.
    Red,
}

/// The application.
pub(crate) struct Reviews {
    name: String,
    stars: Option<(Stars, Caller)>,
}

impl Reviews {
    /// The instance of that name. With stars it calls ratings.
    pub(crate) fn new(name: String, stars: Option<Stars>, caller: Caller) -> Self {
        Reviews { name, stars: stars.map(|stars| (stars, caller.with_timeout(PATIENCE))) }
    }

    async fn reviews(&self, id: &str, headers: &HeaderMap) -> Result<Value, Refusal> {
        let id = product_id(id)?;
        let ratings = match &self.stars {
            Some((stars, caller)) => Some((*stars, ratings(caller, id, headers).await)),
            None => None,
        };
        let reviews: Vec<Value> = TEXTS.iter().map(|(reviewer, text)| review(reviewer, text, ratings.as_ref())).collect();
        Ok(json!({ "id": id.to_string(), "podname": self.name, "clustername": "weir", "reviews": reviews }))
    }
}

impl Application for Reviews {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        discard(body).await;
        match head.uri.path().split('/').collect::<Vec<_>>().as_slice() {
            ["", "health"] => health("Reviews"),
            ["", "reviews", id] => match self.reviews(id, &head.headers).await {
                Ok(reviews) => json(StatusCode::OK, &reviews),
                Err(refusal) => refusal.into_json(),
            },
            _ => Refusal::not_found(head.uri.path()).into_json(),
        }
    }
}

/// What ratings says, or nothing if it does not say it properly.
async fn ratings(caller: &Caller, id: u64, headers: &HeaderMap) -> Option<Value> {
    let answer = caller.get("ratings", &format!("/ratings/{id}"), &forwarded(headers)).await.ok()?;
    let mut answer = if answer.status == StatusCode::OK { answer.json()? } else { return None };
    answer.get_mut("ratings").map(Value::take)
}

fn review(reviewer: &str, text: &str, ratings: Option<&(Stars, Option<Value>)>) -> Value {
    let Some((stars, ratings)) = ratings else {
        return json!({ "reviewer": reviewer, "text": text });
    };
    let color = match stars {
        Stars::Black => "black",
        Stars::Red => "red",
    };
    let rating = match ratings.as_ref().and_then(|ratings| ratings.get(reviewer)) {
        Some(stars) => json!({ "stars": stars, "color": color }),
        None => json!({ "error": "Ratings service is currently unavailable" }),
    };
    json!({ "reviewer": reviewer, "text": text, "rating": rating })
}

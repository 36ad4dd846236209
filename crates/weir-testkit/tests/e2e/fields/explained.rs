//! The calls of a group, explained from its files alone.

use serde_json::{Value, json};
use weir_testkit::explain;

use super::table::{Call, Door, Group, Outcome, Speech};
use super::text::Settled;

/// The gateway and the client's sidecar, as `weir explain` wants them described.
const GATEWAY: &str = r#"{"type": "router", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}, "interception": "NONE"}"#;
const SIDECAR: &str =
    r#"{"type": "sidecar", "namespace": "default", "labels": {"app": "client"}, "addresses": ["127.0.0.10"], "interception": "NONE"}"#;

/// A call as it is asked, and for whom it stands.
struct Question<'g> {
    case: &'static str,
    call: &'g Call,
    door: Door,
    asked: Value,
}

/// Asks once for each proxy, and tells of all answers that do not agree with what the calls lead to.
pub(super) async fn check(group: Group) {
    let settled = Settled::new(&group).await;
    let questions = questions(&settled, &group);
    let mut failures = vec![];
    for (proxy, is_gateway) in [(GATEWAY, true), (SIDECAR, false)] {
        let questions: Vec<&Question<'_>> =
            questions.iter().filter(|question| matches!(question.door, Door::Gateway(_)) == is_gateway).collect();
        let asked: String = questions.iter().map(|question| format!("{}\n", question.asked)).collect();
        let answers = explain(settled.layout, &settled.mesh_config, &[("group.yaml", &settled.resources)], proxy, &asked);
        assert_eq!(answers.len(), questions.len(), "each call has one answer");
        for (question, answer) in questions.into_iter().zip(answers) {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            if let Err(failure) = agrees(&settled, question.call, &answer) {
                failures.push(format!("{}: {}: {failure}\n    {answer}", question.case, question.asked));
            }
        }
    }
    assert!(failures.is_empty(), "{} are explained wrongly:\n{}\n", failures.len(), failures.join("\n"));
}

fn questions<'g>(settled: &Settled, group: &'g Group) -> Vec<Question<'g>> {
    let mut questions = vec![];
    for case in &group.cases {
        for call in case.calls.iter().filter(|call| !matches!(call.outcome, Outcome::Filtered(_))) {
            for door in &call.doors {
                let asked = question(settled, call, *door, case.name);
                questions.push(Question { case: case.name, call, door: *door, asked });
            }
        }
    }
    questions
}

fn question(settled: &Settled, call: &Call, door: Door, host: &str) -> Value {
    let (Door::Gateway(port) | Door::Sidecar(port)) = door;
    let mut asked = json!({"port": settled.port(port), "address": call.address});
    match call.speech {
        Speech::Tcp => asked["protocol"] = json!("TCP"),
        Speech::Tls(server_name) => {
            asked["protocol"] = json!("TCP");
            asked["tls"] = json!("tls");
            asked["sni"] = json!(server_name);
        }
        Speech::Http | Speech::Https => {
            let host = call.host.map_or_else(|| host.to_owned(), |host| settled.text(host));
            if call.speech == Speech::Https {
                asked["tls"] = json!("tls");
                asked["sni"] = json!(host.split(':').next());
            }
            asked["host"] = json!(host);
            asked["method"] = json!(call.method);
            asked["path"] = json!(call.path);
            for (name, value) in &call.headers {
                let values = asked["headers"][*name].as_array().cloned().unwrap_or_default();
                asked["headers"][*name] = values.into_iter().chain([json!(settled.text(value))]).collect();
            }
        }
    }
    asked
}

fn agrees(settled: &Settled, call: &Call, answer: &Value) -> Result<(), String> {
    if let Some(route) = call.route.filter(|route| answer["route"].as_str() != Some(route)) {
        return Err(format!("route {} instead of {route}", answer["route"]));
    }
    match &call.outcome {
        Outcome::Reaches(instance) => {
            reaches(settled, answer, instance, None)?;
            changes(call, answer)
        }
        Outcome::Shares(shares) => shares.iter().try_for_each(|(instance, weight)| reaches(settled, answer, instance, Some(*weight))),
        Outcome::Redirects(status, location) => {
            let why = step(answer, &format!("answers {status}"))?;
            let location = settled.text(location);
            if why.ends_with(&format!(" {location}")) { Ok(()) } else { Err(format!("{why:?} instead of {location}")) }
        }
        Outcome::Answers(status, _) => step(answer, &format!("answers {status}")).map(drop),
        Outcome::RedirectsToHttps(_) => error(answer, "TLSRedirect"),
        Outcome::Filtered(_) => Ok(()),
        Outcome::NoHost => error(answer, "NoVirtualHost"),
        Outcome::NoRoute => error(answer, "NoRoute"),
        Outcome::Fails(_, cluster) => {
            let (found, cluster) = (answer["cluster"].as_str(), settled.text(cluster));
            if found == Some(&cluster) { Ok(()) } else { Err(format!("cluster {found:?} instead of {cluster}")) }
        }
        Outcome::Nobody(why) => match answer["cluster"].as_str() {
            Some(cluster) if cluster == settled.text(why) => Ok(()),
            Some(cluster) => Err(format!("cluster {cluster} instead of {why}")),
            None => error(answer, why),
        },
    }
}

fn error(answer: &Value, expected: &str) -> Result<(), String> {
    let found = answer["error"].as_str();
    if found == Some(expected) { Ok(()) } else { Err(format!("error {found:?} instead of {expected}")) }
}

/// Whether one of the clusters has this instance and no other, and this weight.
fn reaches(settled: &Settled, answer: &Value, instance: &str, weight: Option<u32>) -> Result<(), String> {
    if !answer["error"].is_null() {
        return Err(format!("the error {} instead of {instance}", answer["error"]));
    }
    let only = format!("its instance is {}", settled.address(instance));
    let clusters = answer["clusters"].as_array().into_iter().flatten();
    let found = clusters.filter(|cluster| {
        let named = format!("cluster {}", cluster["name"].as_str().unwrap_or_default());
        steps(answer).any(|(what, why)| (what == named || what.starts_with(&format!("{named} "))) && why == only)
    });
    let weights: Vec<Option<u64>> = found.map(|cluster| cluster["weight"].as_u64()).collect();
    let expected = weight.map(u64::from);
    let all = answer["clusters"].as_array().map_or(0, Vec::len);
    match (weights.as_slice(), expected) {
        (found, None) if found.len() == all && all > 0 => Ok(()),
        ([found], Some(_)) if *found == expected => Ok(()),
        _ => Err(format!("{instance} ({only}) is not what it says")),
    }
}

/// Whether it tells of another path or host that the instance sees.
fn changes(call: &Call, answer: &Value) -> Result<(), String> {
    for (name, values) in &call.seen {
        let (what, value) = match (*name, *values) {
            (":path", [value]) if *value != call.path => ("path", *value),
            ("host", [value]) if call.host != Some(*value) && !value.contains('$') => ("host", *value),
            _ => continue,
        };
        step(answer, &format!("{what} {value}"))?;
    }
    Ok(())
}

fn step<'a>(answer: &'a Value, wanted: &str) -> Result<&'a str, String> {
    let found = steps(answer).find(|(what, _)| *what == wanted);
    found.map(|(_, why)| why).ok_or_else(|| format!("no step is {wanted:?}"))
}

fn steps(answer: &Value) -> impl Iterator<Item = (&str, &str)> {
    let steps = answer["steps"].as_array().into_iter().flatten();
    steps.map(|step| (step["what"].as_str().unwrap_or_default(), step["why"].as_str().unwrap_or_default()))
}

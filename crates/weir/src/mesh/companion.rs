//! Asks a pilot for the names of the mesh on behalf of a proxy that does not do so itself, as Envoy: beside the proxy's own stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ads::{Client, ClientStream, Protocol, Update};
use weir_config::name_table::NameTable;
use weir_proxy::control::follow::Connect;
use weir_xds::core::Node;
use weir_xds::names::NameTable as XdsNameTable;
use weir_xds::resource::ResourceType;

use super::names::Told;

/// Pauses between attempts to reach the pilot: from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Follows a pilot, by whatever connects to it, for as long as the runtime lives. What it has told stays while it cannot be reached.
pub(crate) async fn follow_names(pilot: String, connect: Connect, node: Node, told: Told) {
    let mut client = Client::new(Protocol::Delta, node);
    client.want_all(ResourceType::NameTable);
    let mut pause = MIN_PAUSE;
    loop {
        match connect().await {
            Ok(stream) => {
                let began = Instant::now();
                follow(&mut client, stream, &told).await;
                if began.elapsed() > MAX_PAUSE {
                    pause = MIN_PAUSE;
                }
                tracing::warn!("{pilot} tells no names any more; those that it told are answered");
            }
            Err(error) => tracing::warn!("{error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn follow(client: &mut Client, mut stream: ClientStream, told: &Told) {
    for request in client.connect() {
        if stream.requests.send(request).await.is_err() {
            return;
        }
    }
    while let Some(response) = stream.responses.recv().await {
        let Some(update) = client.receive(response) else { continue };
        let refused = take(&update, told);
        if stream.requests.send(client.answer(&update, &refused)).await.is_err() {
            return;
        }
    }
}

/// Tells the names on. What is not understood, and why.
fn take(update: &Update, (asker, tell): &Told) -> Vec<(Arc<str>, String)> {
    let mut refused = vec![];
    for (name, body) in &update.upserts {
        match body.unpack::<XdsNameTable>() {
            Ok(table) => drop(tell.send_replace(Some(Arc::new(NameTable::compile(&table, asker))))),
            Err(error) => {
                tracing::error!("a name table is refused: {error}");
                refused.push((name.clone(), error.to_string()));
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use weir_config::name_table::Asker;
    use weir_xds::Any;
    use weir_xds::names::NameInfo;
    use weir_xds::resource::NAME_TABLE;

    use super::*;

    #[test]
    fn names_are_told_on_and_what_is_none_is_refused() {
        let (tell, names) = watch::channel(None);
        let told = (Asker::default(), tell);
        let update = |body: Any| Update::of(ResourceType::NameTable, vec![(NAME_TABLE.into(), body)], vec![]);
        let info = NameInfo { ips: vec!["240.240.0.1".to_owned()], ..Default::default() };
        let table = XdsNameTable { table: [("db.test".to_owned(), info)].into() };
        assert_eq!(take(&update(Any::pack(&table)), &told), []);
        let broken = Any { value: vec![0xff].into(), ..Any::pack(&table) };
        assert_eq!(take(&update(broken), &told).len(), 1);
        let known = names.borrow().clone().unwrap();
        assert_eq!(known.find("db.test").unwrap().addresses.len(), 1, "what was told stays");
    }
}

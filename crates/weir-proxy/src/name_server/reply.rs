//! What is said to one question.

use std::net::IpAddr;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use weir_config::name_table::{Known, NameTable};

/// How long an answer holds, in seconds, as Istio's sidecars say it.
const TTL: u32 = 30;
/// What every client takes over UDP.
const SMALLEST: u16 = 512;
/// What we say that we take.
const OWN_PAYLOAD: u16 = 4096;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is answered.
    Answer(Vec<u8>),
    /// It is for others.
    Elsewhere,
    /// It is none.
    Nothing,
}

/// What becomes of a question, by the names that are known.
pub(super) fn to(question: &[u8], names: Option<&NameTable>, transport: Transport) -> Reply {
    let Ok(asked) = Message::from_vec(question) else { return Reply::Nothing };
    if asked.metadata.message_type != MessageType::Query {
        return Reply::Nothing;
    }
    // Until the names are known nobody may say that there is none.
    let Some(names) = names else { return failure(question).map_or(Reply::Nothing, Reply::Answer) };
    let (OpCode::Query, [query]) = (asked.metadata.op_code, asked.queries.as_slice()) else { return Reply::Elsewhere };
    if query.query_class != DNSClass::IN {
        return Reply::Elsewhere;
    }
    // Of other types only the outside knows anything: a host of a ServiceEntry may have records for its mail.
    if !matches!(query.query_type, RecordType::A | RecordType::AAAA | RecordType::ANY) {
        return Reply::Elsewhere;
    }
    match names.find(&query.name.to_ascii()) {
        Some(known) => written(&answer(&asked, query, &known), &asked, transport).map_or(Reply::Nothing, Reply::Answer),
        None => Reply::Elsewhere,
    }
}

/// Says that there is no answer for now; none if that was no question.
pub(super) fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let mut answer = begun(&asked);
    answer.metadata.response_code = ResponseCode::ServFail;
    answer.to_vec().ok()
}

/// What every answer says.
fn begun(asked: &Message) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(asked.queries.iter().cloned());
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(OWN_PAYLOAD);
        answer.set_edns(edns);
    }
    answer
}

/// A name of the mesh. One without addresses of the family that is asked for is there all the same: were it not, resolvers would not
/// ask for the other family.
fn answer(asked: &Message, query: &Query, known: &Known) -> Message {
    let mut answer = begun(asked);
    answer.metadata.authoritative = true;
    let alias = known.alias_of.as_ref().and_then(|name| Name::from_ascii(format!("{name}.")).ok());
    let wants = |kind| query.query_type == kind || query.query_type == RecordType::ANY;
    if let Some(alias) = &alias {
        answer.add_answer(Record::from_rdata(query.name.clone(), TTL, RData::CNAME(CNAME(alias.clone()))));
    }
    let name = alias.unwrap_or_else(|| query.name.clone());
    let mut data: Vec<RData> = known
        .addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => wants(RecordType::A).then_some(RData::A(A(*address))),
            IpAddr::V6(address) => wants(RecordType::AAAA).then_some(RData::AAAA(AAAA(*address))),
        })
        .collect();
    // Clients take the first.
    fastrand::shuffle(&mut data);
    answer.add_answers(data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)));
    answer
}

/// The message, as long as the client takes it.
fn written(answer: &Message, asked: &Message, transport: Transport) -> Option<Vec<u8>> {
    let written = answer.to_vec().ok()?;
    let most = match transport {
        Transport::Udp => asked.edns.as_ref().map_or(SMALLEST, Edns::max_payload).clamp(SMALLEST, OWN_PAYLOAD),
        Transport::Tcp => u16::MAX,
    };
    // It asks again over TCP.
    if written.len() > usize::from(most) { answer.truncate().to_vec().ok() } else { Some(written) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_config::name_table::Asker;
    use weir_xds::names::{NameInfo, NameTable as XdsNameTable};

    use super::*;

    fn names(addresses: usize) -> NameTable {
        let many = (0..addresses).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let info = |ips| NameInfo { ips, ..Default::default() };
        let table: BTreeMap<String, NameInfo> =
            [("a.test".to_owned(), info(vec!["10.1.1.1".to_owned()])), ("many.test".to_owned(), info(many))].into();
        NameTable::compile(&XdsNameTable { table }, &Asker { search: "shop.test".to_owned(), ..Asker::default() })
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut asked = Message::query();
        asked.metadata.recursion_desired = true;
        asked.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        asked
    }

    fn answered(asked: &Message, names: &NameTable, transport: Transport) -> Message {
        let Reply::Answer(answer) = to(&asked.to_vec().unwrap(), Some(names), transport) else { panic!("no answer") };
        Message::from_vec(&answer).unwrap()
    }

    fn records(message: &Message) -> Vec<String> {
        message.answers.iter().map(|record| format!("{} {} {}", record.name, record.record_type(), record.data)).collect()
    }

    #[test]
    fn a_name_of_the_mesh_is_answered() {
        let names = names(1);
        for (name, kind, expected) in [
            ("A.test.", RecordType::A, &["A.test. A 10.1.1.1"][..]),
            ("a.test.", RecordType::AAAA, &[]),
            ("a.test.shop.test.", RecordType::A, &["a.test.shop.test. CNAME a.test.", "a.test. A 10.1.1.1"]),
        ] {
            let asked = question(name, kind);
            let answer = answered(&asked, &names, Transport::Udp);
            assert_eq!(records(&answer), expected, "{name} {kind}");
            let said = &answer.metadata;
            assert_eq!((said.id, said.response_code, said.authoritative), (asked.metadata.id, ResponseCode::NoError, true));
            assert_eq!(answer.queries, asked.queries);
        }
    }

    #[test]
    fn all_else_is_for_others_and_nothing_is_denied_before_the_names_are_known() {
        let names = names(1);
        let asked = question("other.test.", RecordType::A).to_vec().unwrap();
        assert_eq!(to(&asked, Some(&names), Transport::Udp), Reply::Elsewhere);
        let mail = question("a.test.", RecordType::MX).to_vec().unwrap();
        assert_eq!(to(&mail, Some(&names), Transport::Udp), Reply::Elsewhere);
        let Reply::Answer(answer) = to(&asked, None, Transport::Udp) else { panic!("no answer") };
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::ServFail);
        let mut response = question("a.test.", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        for nonsense in [response.to_vec().unwrap(), vec![], vec![0; 11], vec![0xff; 40]] {
            assert_eq!(to(&nonsense, Some(&names), Transport::Udp), Reply::Nothing, "{nonsense:?}");
        }
    }

    #[test]
    fn an_answer_is_cut_for_who_cannot_take_it() {
        let names = names(100);
        let mut asked = question("many.test.", RecordType::A);
        let cut = answered(&asked, &names, Transport::Udp);
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(answered(&asked, &names, Transport::Tcp).answers.len(), 100);
        let mut edns = Edns::new();
        edns.set_max_payload(u16::MAX);
        asked.set_edns(edns);
        let whole = answered(&asked, &names, Transport::Udp);
        assert!(!whole.metadata.truncation && whole.answers.len() == 100 && whole.edns.is_some());
    }
}

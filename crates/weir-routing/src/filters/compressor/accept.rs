//! Which coding a client gets, of those that the compressors of a chain offer.

use super::super::coding::Coding;

/// What a compressor offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// This coding.
    pub coding: Coding,
    /// Whether it goes before others that the client likes as much.
    pub first: bool,
}

/// What a client names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Identity,
    Any,
    Offered(Offer),
}

/// The coding that a client likes best, as its `accept-encoding` says; `None` for the body as it is. Of several that it likes as
/// much the one counts that it names first, and where it takes any, the one that is offered first.
///
/// Codings are named letter by letter, and what is liked in no number says nothing, as in Envoy.
pub fn choose(accepted: &str, offered: impl IntoIterator<Item = Offer>) -> Option<Coding> {
    let mut offers: smallvec::SmallVec<[Offer; 3]> = smallvec::SmallVec::new();
    for offer in offered {
        if !offers.iter().any(|known| known.coding == offer.coding) {
            offers.push(offer);
        }
    }
    for (refused, _) in liked(accepted).filter(|(_, weight)| *weight == 0.0) {
        offers.retain(|offer| offer.coding.token() != refused);
    }
    let (mut best, mut most) = (Named::Identity, 0.0);
    for (name, weight) in liked(accepted) {
        let Some(named) = named(name, &offers) else { continue };
        let goes_first = matches!(named, Named::Offered(Offer { first: true, .. }));
        if weight > most || (weight == most && goes_first) {
            (best, most) = (named, weight);
        }
    }
    match best {
        Named::Identity => None,
        Named::Any => offers.first().map(|offer| offer.coding),
        Named::Offered(offer) => Some(offer.coding),
    }
}

fn named(name: &str, offers: &[Offer]) -> Option<Named> {
    match name {
        "identity" => Some(Named::Identity),
        "*" => Some(Named::Any),
        name => offers.iter().find(|offer| offer.coding.token() == name).map(|offer| Named::Offered(*offer)),
    }
}

/// The codings that are named, and how much each is liked.
fn liked(accepted: &str) -> impl Iterator<Item = (&str, f32)> {
    accepted.split(',').filter(|entry| !entry.is_empty()).filter_map(|entry| {
        let Some((name, parameters)) = entry.split_once(';') else { return Some((entry.trim(), 1.0)) };
        match parameters.split_once('=') {
            Some((key, weight)) if key.trim().eq_ignore_ascii_case("q") => Some((name.trim(), weight.trim().parse().ok()?)),
            _ => Some((name.trim(), 1.0)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_likes_best() {
        let offer = |coding| Offer { coding, first: false };
        let first = |coding| Offer { coding, first: true };
        let (gzip, brotli, zstd) = (offer(Coding::Gzip), offer(Coding::Brotli), offer(Coding::Zstd));
        let one = &[gzip][..];
        let both = &[brotli, gzip][..];
        let cases = [
            ("gzip", one, Some(Coding::Gzip)),
            ("br", one, None),
            ("", one, None),
            (",", one, None),
            ("GZIP", one, None),
            ("gzip;q=0", one, None),
            ("gzip;q=0.0", one, None),
            ("gzip; Q = 0.5", one, Some(Coding::Gzip)),
            ("gzip;q=x", one, None),
            ("gzip;q=0.5;a=b", one, None),
            ("gzip;level=0", one, Some(Coding::Gzip)),
            ("*", one, Some(Coding::Gzip)),
            ("*;q=0", one, None),
            ("gzip;q=0,*", one, None),
            ("*;q=0,gzip;q=0.1", one, Some(Coding::Gzip)),
            ("identity", one, None),
            ("identity, gzip", one, None),
            ("gzip, identity", one, Some(Coding::Gzip)),
            ("identity;q=0.5, gzip", one, Some(Coding::Gzip)),
            ("gzip;q=0.5, identity;q=0.9", one, None),
            ("deflate, gzip;q=0.5", one, Some(Coding::Gzip)),
            ("gzip, br", both, Some(Coding::Gzip)),
            ("br, gzip", both, Some(Coding::Brotli)),
            ("br;q=0.5, gzip", both, Some(Coding::Gzip)),
            ("*", both, Some(Coding::Brotli)),
            ("br;q=0,*", both, Some(Coding::Gzip)),
            ("gzip;q=0.5, *", both, Some(Coding::Brotli)),
            ("gzip, br", &[first(Coding::Brotli), gzip], Some(Coding::Brotli)),
            ("gzip, br;q=0.9", &[first(Coding::Brotli), gzip], Some(Coding::Gzip)),
            ("gzip, br", &[first(Coding::Gzip), first(Coding::Brotli)], Some(Coding::Brotli)),
            ("zstd, gzip", &[gzip, zstd], Some(Coding::Zstd)),
            ("gzip", &[], None),
            ("*", &[], None),
        ];
        for (accepted, offered, expected) in cases {
            assert_eq!(choose(accepted, offered.iter().copied()), expected, "{accepted} of {offered:?}");
        }
    }
}

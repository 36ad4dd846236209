use proptest::prelude::*;
use weir_routing::filters::coding::BrotliMode;

use super::*;

const GZIP: Compression = Compression::Gzip { level: 6, window_bits: 12 };
const BROTLI: Compression =
    Compression::Brotli { quality: 3, window_bits: 18, block_bits: None, mode: BrotliMode::Generic, literal_contexts: true };
const ZSTD: Compression = Compression::Zstd { level: 3, strategy: None, checksum: true };

fn decompression(coding: Coding) -> Decompression {
    Decompression { coding, max_ratio: 100 }
}

/// What each part becomes, and what comes behind the last.
fn encode(compression: &Compression, parts: &[&[u8]]) -> Vec<Bytes> {
    let mut encoder = Encoder::new(compression).expect("it begins");
    let mut encoded: Vec<Bytes> = parts.iter().map(|part| encoder.part(part).expect("it is encoded")).collect();
    encoded.push(encoder.finish().expect("it ends"));
    encoded
}

fn take(decoder: &mut Decoder, part: &[u8]) -> Result<Vec<u8>, Undone> {
    decoder.feed(Bytes::copy_from_slice(part));
    let mut whole = vec![];
    while let Some(more) = decoder.more()? {
        assert!(!more.is_empty() && more.len() <= PART);
        whole.extend_from_slice(&more);
    }
    Ok(whole)
}

/// What comes of parts, to the end.
fn decode(decompression: &Decompression, parts: &[&[u8]]) -> Result<Vec<u8>, Undone> {
    let mut decoder = Decoder::new(decompression).expect("it begins");
    let mut whole = vec![];
    for part in parts {
        whole.extend_from_slice(&take(&mut decoder, part)?);
    }
    let (came, went) = decoder.finish()?;
    assert_eq!((came as usize, went as usize), (parts.concat().len(), whole.len()));
    Ok(whole)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_body_comes_out_as_it_went_in(
        parts in prop::collection::vec(prop::collection::vec(0..4_u8, 0..40_000), 0..4),
        piece in 1..5_000_usize,
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        for compression in [GZIP, BROTLI, ZSTD] {
            let encoded = encode(&compression, &parts).concat();
            let pieces: Vec<&[u8]> = encoded.chunks(piece).collect();
            prop_assert_eq!(decode(&decompression(compression.coding()), &pieces), Ok(parts.concat()));
        }
    }

    #[test]
    fn what_is_in_no_coding_is_refused_or_comes_out_bounded(body in prop::collection::vec(any::<u8>(), 0..3_000)) {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            if let Ok(decoded) = decode(&decompression(coding), &[&body]) {
                prop_assert!(decoded.len() <= (body.len() * 100).max(PART));
            }
        }
    }
}

#[test]
fn each_part_can_be_read_when_it_has_come() {
    for compression in [GZIP, BROTLI, ZSTD] {
        let parts: [&[u8]; 3] = [b"first ", b"second ", &[b'x'; 100_000]];
        let encoded = encode(&compression, &parts);
        let mut decoder = Decoder::new(&Decompression { max_ratio: 10_000, ..decompression(compression.coding()) }).expect("it begins");
        for (part, encoded) in parts.iter().zip(&encoded) {
            assert_eq!(take(&mut decoder, encoded).expect("it is good"), *part, "{compression:?}");
        }
        assert_eq!(decoder.finish(), Err(Undone::Cut), "{compression:?}");
    }
}

#[test]
fn a_body_may_not_become_too_large() {
    for compression in [GZIP, BROTLI, ZSTD] {
        let bomb = encode(&compression, &[&vec![0; 8 << 20]]).concat();
        assert!(bomb.len() < 80_000, "{compression:?} {}", bomb.len());
        let coding = compression.coding();
        assert_eq!(decode(&decompression(coding), &[&bomb]), Err(Undone::TooLarge), "{compression:?}");
        let larger = Decompression { max_ratio: u32::MAX, ..decompression(coding) };
        assert_eq!(decode(&larger, &[&bomb]).map(|body| body.len()), Ok(8 << 20), "{compression:?}");
        // However little it is.
        let small = encode(&compression, &[&[0; PART]]).concat();
        assert_eq!(decode(&decompression(coding), &[&small]).map(|body| body.len()), Ok(PART), "{compression:?}");
    }
}

#[test]
fn a_body_that_is_cut_or_not_its_own_is_refused() {
    for compression in [GZIP, BROTLI, ZSTD] {
        let coding = compression.coding();
        let whole = encode(&compression, &[b"a body that is long enough to be cut"]).concat();
        assert_eq!(decode(&decompression(coding), &[&whole[..whole.len() - 1]]), Err(Undone::Cut), "{compression:?}");
        let garbage = [&whole[..], b"garbage"].concat();
        assert_eq!(decode(&decompression(coding), &[&garbage]), Err(Undone::Malformed), "{compression:?}");
        assert_eq!(decode(&decompression(coding), &[b"plain text that nobody has compressed"]), Err(Undone::Malformed), "{compression:?}");
        assert_eq!(decode(&decompression(coding), &[]), Ok(vec![]), "an empty body is in any coding");
    }
}

#[test]
fn files_may_follow_each_other() {
    for compression in [GZIP, ZSTD] {
        let two = [encode(&compression, &[b"one"]).concat(), encode(&compression, &[b"two"]).concat()].concat();
        assert_eq!(decode(&decompression(compression.coding()), &[&two]), Ok(b"onetwo".to_vec()), "{compression:?}");
    }
}

#[test]
fn who_asks_for_more_in_vain_does_not_break_a_body_off() {
    let body: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
    for compression in [GZIP, BROTLI, ZSTD] {
        let encoded = encode(&compression, &[&body]).concat();
        let (first, second) = encoded.split_at(encoded.len() / 2);
        let mut decoder = Decoder::new(&decompression(compression.coding())).expect("it begins");
        let mut whole = take(&mut decoder, first).expect("it goes on");
        for _ in 0..100 {
            assert_eq!(decoder.more(), Ok(None), "{compression:?}");
        }
        whole.extend(take(&mut decoder, second).expect("it goes on"));
        assert_eq!((whole, decoder.finish().is_ok()), (body.clone(), true), "{compression:?}");
    }
}

#[test]
fn brotli_looks_no_further_back_than_its_standard_allows() {
    // A window of 2^30 bytes, as only "large window" brotli has it.
    assert_eq!(decode(&decompression(Coding::Brotli), &[&[0x11, 0x1e, 0x00, 0x00, 0x03]]), Err(Undone::Malformed));
}

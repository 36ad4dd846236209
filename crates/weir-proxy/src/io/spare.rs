//! Memory that one exchange leaves to the next: maps of headers, and buffers that heads are written to. A worker keeps a few of each.

use std::cell::RefCell;

use weir_http1::Headers;

/// So many are kept of each.
const KEPT: usize = 16;
/// What has grown beyond this is not kept: a map, in headers; a buffer, in bytes.
const MOST_HEADERS: usize = 64;
const MOST_BYTES: usize = 8 << 10;

thread_local! {
    static MAPS: RefCell<Vec<Headers>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty map.
pub fn map() -> Headers {
    MAPS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives back a map that is not needed any more.
pub fn give_map(mut map: Headers) {
    if map.capacity() == 0 || map.capacity() > MOST_HEADERS {
        return;
    }
    map.clear();
    // Where a thread ends, so does what it keeps.
    let _ = MAPS.try_with(|maps| {
        if let Ok(mut maps) = maps.try_borrow_mut()
            && maps.len() < KEPT
        {
            maps.push(map);
        }
    });
}

/// An empty buffer.
pub fn buffer() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives back a buffer that is not needed any more.
pub fn give_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > MOST_BYTES {
        return;
    }
    buffer.clear();
    let _ = BUFFERS.try_with(|buffers| {
        if let Ok(mut buffers) = buffers.try_borrow_mut()
            && buffers.len() < KEPT
        {
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_empty_and_not_too_large() {
        let mut headers = map();
        headers.insert("a", weir_http1::HeaderValue::from_static("b"));
        give_map(headers);
        give_map(Headers::with_capacity(1000));
        assert!(map().capacity() > 0 && map().capacity() == 0);
        let mut bytes = buffer();
        bytes.push(1);
        give_buffer(bytes);
        give_buffer(Vec::with_capacity(1 << 20));
        let again = buffer();
        assert!(again.is_empty() && again.capacity() > 0 && buffer().capacity() == 0);
    }
}

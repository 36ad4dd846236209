//! The time as a `date` header tells it. It is written once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_http1::HeaderValue;

thread_local! {
    static LAST: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// Now.
pub fn now() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            *last = second;
            *text = HeaderValue::try_from(httpdate::fmt_http_date(now)).unwrap_or(HeaderValue::from_static(""));
        }
        text.clone()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_now() {
        let date = httpdate::parse_http_date(super::now().to_str().expect("ASCII")).expect("a date");
        assert!(date.elapsed().expect("it has passed").as_secs() < 60);
    }
}

//! The allocator of Weir's programs: [mimalloc](https://github.com/microsoft/mimalloc), which is good at many small pieces of memory
//! that come and go on several threads.
//!
//! mimalloc's own crate asks for every piece by `mi_malloc_aligned`. For more than 1 KiB that takes a long way, and more memory than
//! was asked for: whatever the alignment, it asks for `size + alignment - 1` bytes, which is often one size of blocks more, and looks
//! where in the block the piece may begin, also when it is freed. Nearly all pieces are aligned as every block is, so this asks for
//! them as C does. It is the only crate with `unsafe`; the other use of it is [`code`], the memory that holds a program itself.

pub mod code;

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// So much every block of mimalloc is aligned, the smallest too (`MI_MAX_ALIGN_SIZE` is 16, but of blocks of 16 bytes or more).
const EVERY_BLOCK: usize = 8;

/// The allocator, to be named as the `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

#[allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait, and mimalloc is written in C")]
// SAFETY: mimalloc gives pieces that are as long as asked for, aligned as asked for, and nobody else's until they are given back; null if
// there is no memory. None of its functions unwinds. Each may free and change the size of what any other of them gave.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0, as the caller promises, and the alignment is a power of two.
        let piece = unsafe {
            if layout.align() <= EVERY_BLOCK { mi_malloc(layout.size()) } else { mi_malloc_aligned(layout.size(), layout.align()) }
        };
        piece.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let piece = unsafe {
            if layout.align() <= EVERY_BLOCK { mi_zalloc(layout.size()) } else { mi_zalloc_aligned(layout.size(), layout.align()) }
        };
        piece.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, _: Layout) {
        // SAFETY: the caller promises that the piece is one that this allocator gave, and not given back yet.
        unsafe { mi_free(piece.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the size is not 0.
        let piece = unsafe {
            if layout.align() <= EVERY_BLOCK {
                mi_realloc(piece.cast::<c_void>(), size)
            } else {
                mi_realloc_aligned(piece.cast::<c_void>(), size, layout.align())
            }
        };
        piece.cast()
    }
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "what is tested is unsafe")]

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    const SIZES: [usize; 14] = [1, 7, 8, 9, 16, 24, 100, 1024, 1025, 1600, 4096, 16_384, 1 << 20, 1 << 22];

    /// Gets pieces of a layout, several at once, and looks at where and what they are.
    fn check(layout: Layout) {
        // SAFETY: no size is 0; what is written lies within the pieces, and each is given back once, with its layout.
        unsafe {
            let pieces: [*mut u8; 4] = std::array::from_fn(|number| match number % 2 {
                0 => ALLOCATOR.alloc(layout),
                _ => ALLOCATOR.alloc_zeroed(layout),
            });
            for (number, piece) in pieces.into_iter().enumerate() {
                assert!(!piece.is_null() && piece.addr().is_multiple_of(layout.align()), "{layout:?}");
                let bytes = std::slice::from_raw_parts_mut(piece, if number % 2 == 0 { 0 } else { layout.size() });
                assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
                piece.write_bytes(u8::try_from(number + 1).unwrap_or(0), layout.size());
            }
            for (number, piece) in pieces.into_iter().enumerate() {
                let longer = ALLOCATOR.realloc(piece, layout, 2 * layout.size());
                assert!(longer.addr().is_multiple_of(layout.align()), "{layout:?}");
                let bytes = std::slice::from_raw_parts(longer, layout.size());
                assert!(bytes.iter().all(|byte| usize::from(*byte) == number + 1), "{layout:?}: pieces lie over each other");
                ALLOCATOR.dealloc(longer, Layout::from_size_align_unchecked(2 * layout.size(), layout.align()));
            }
        }
    }

    #[test]
    fn pieces_are_aligned_apart_and_keep_what_is_in_them() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            SIZES.into_iter().filter_map(|size| Layout::from_size_align(size, align).ok()).for_each(check);
        }
    }
}

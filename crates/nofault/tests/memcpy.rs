//! A copy of memory that is there is `memcpy`, whatever the offsets and lengths.
#![expect(unsafe_code, reason = "calls the raw copies")]
#![expect(clippy::arithmetic_side_effects, reason = "a wrap fails the test")]

use proptest::prelude::*;
use vread_nofault::{Backend, copy_foreign, select, zero_foreign};

/// What the buffer holds before a copy.
const UNTOUCHED: u8 = 0xee;

proptest! {
    // The only test of its program, since the backend is the program's.
    #[test]
    fn a_copy_without_a_fault_is_memcpy(
        src in prop::collection::vec(any::<u8>(), 0..20_000),
        short in 0_usize..1_100,
        before in 0_usize..100,
        after in 0_usize..100,
    ) {
        for (backend, len) in [
            (Backend::SignalHandler, src.len()),
            (Backend::SignalHandler, src.len().min(short)),
            (Backend::ProcessVm, src.len()),
        ] {
            prop_assert_eq!(select(backend).unwrap(), backend);
            let src = &src[..len];
            let mut got = vec![UNTOUCHED; before + len + after];
            let mut want = got.clone();
            want[before..before + len].copy_from_slice(src);
            let dst = got[before..].as_mut_ptr();
            // SAFETY: 1. `len` bytes lie behind `before`; 2. `src` has so many.
            let outcome = unsafe { copy_foreign(dst, src.as_ptr(), len) };
            prop_assert_eq!((outcome.done, outcome.fault), (len, None));
            prop_assert_eq!(&got, &want);
            want[before..before + len].fill(0);
            let dst = got[before..].as_mut_ptr();
            // SAFETY: `len` bytes lie behind `before`.
            let outcome = unsafe { zero_foreign(dst, len) };
            prop_assert_eq!((outcome.done, outcome.fault), (len, None));
            prop_assert_eq!(&got, &want);
        }
    }
}

//! Guests of their own, of other kinds.

use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease};
use vread_linux::PagingLevels;

use crate::seen::Seen;

/// A name and the test.
type Test = (&'static str, fn(KernelRelease));

pub(crate) const TESTS: [Test; 1] = [(
    "reads_four_levels_without_kaslr",
    reads_four_levels_without_kaslr,
)];

/// G2, E9, E19, N15.
fn reads_four_levels_without_kaslr(release: KernelRelease) {
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .cpu_model("max,la57=off")
        .kaslr(Kaslr::Off);
    let guest = Guest::boot(&config).unwrap();
    let seen = Seen::new(&guest);
    assert_eq!(seen.kernel.page_table().levels(), PagingLevels::Four);
    assert_eq!(seen.kernel.kaslr_offset().get(), 0);
    let bases = seen.kernel.bases().unwrap();
    let all = [bases.direct_map, bases.vmalloc, bases.vmemmap].map(|base| base.get());
    let fixed = [
        0xffff_8880_0000_0000,
        0xffff_c900_0000_0000,
        0xffff_ea00_0000_0000,
    ];
    assert_eq!(all, fixed);
    for theirs in guest.kcore_segments().unwrap() {
        let offset = seen
            .image
            .offset_of(vread_addr::VirtAddr::new(theirs.vaddr))
            .unwrap();
        assert_eq!(offset.get(), theirs.offset, "{theirs:?}");
    }
}

//! The same kernels on other machines: with and without KASLR, one processor and two, a machine without
//! and with RAM above 4 GiB, four levels of page tables and five.
//!
//! Not every combination: a covering design, in which any two settings meet in all their values, and each
//! meets every kernel.

use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease};

use crate::{image, listings, own_files, processes};

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) release: KernelRelease,
    kaslr: Kaslr,
    cpus: u32,
    memory_mib: u32,
    levels: Levels,
}

/// Which page tables the processor offers. 5.10 is built for four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    Four,
    Five,
}

const SMALL: u32 = 512;
const LARGE: u32 = 5120;

/// Each kernel twice: once with these values and once with the other ones.
const ROWS: [(KernelRelease, Kaslr, u32, u32, Levels); 4] = [
    (KernelRelease::V5_10, Kaslr::On, 1, SMALL, Levels::Four),
    (KernelRelease::V6_1, Kaslr::On, 1, LARGE, Levels::Five),
    (KernelRelease::V6_12, Kaslr::On, 2, SMALL, Levels::Five),
    (KernelRelease::V7_2, Kaslr::On, 2, LARGE, Levels::Four),
];

/// All variants, two for each kernel.
pub(crate) fn all() -> Vec<Variant> {
    let rows = ROWS.into_iter();
    let rows = rows.flat_map(|(release, kaslr, cpus, memory_mib, levels)| {
        let row = Variant {
            release,
            kaslr,
            cpus,
            memory_mib,
            levels,
        };
        [row, row.opposite()]
    });
    rows.collect()
}

impl Variant {
    fn opposite(self) -> Self {
        Self {
            release: self.release,
            kaslr: match self.kaslr {
                Kaslr::On => Kaslr::Off,
                Kaslr::Off => Kaslr::On,
            },
            cpus: 3 - self.cpus,
            memory_mib: SMALL + LARGE - self.memory_mib,
            levels: match self.levels {
                Levels::Four => Levels::Five,
                Levels::Five => Levels::Four,
            },
        }
    }

    /// As it stands in the name of its test.
    pub(crate) fn name(self) -> String {
        let kaslr = match self.kaslr {
            Kaslr::On => "kaslr",
            Kaslr::Off => "nokaslr",
        };
        let levels = match self.levels {
            Levels::Four => "4level",
            Levels::Five => "la57",
        };
        let (cpus, memory) = (self.cpus, self.memory_mib);
        format!("{kaslr}_{cpus}cpu_{memory}mib_{levels}")
    }

    /// Boots it and holds everything against what its kernel says: E1 to E18, G20 to G28, V30 to V35, G56
    /// to G63, each file of the mount, and the bytes of 20,000 ranges.
    pub(crate) fn everything_is_equal(self) {
        let config = GuestConfig::new(self.release)
            .kaslr(self.kaslr)
            .cpus(self.cpus)
            .memory_mib(self.memory_mib)
            .cpu_model(match self.levels {
                Levels::Four => "max,la57=off",
                Levels::Five => "max",
            })
            // A module that uses others.
            .module("nf_nat")
            // Both ways to the memory meet both sizes.
            .backend(match self.levels {
                Levels::Four => Backend::Anonymous,
                Levels::Five => Backend::File,
            });
        let guest = Guest::boot(&config).unwrap();
        let checks: [fn(&Guest); 12] = [
            image::headers_equal_the_guests_own_kcore,
            image::notes_equal_but_for_the_reading_task,
            image::ends_at_the_size_of_the_guests_own_kcore,
            listings::symbols_equal_kallsyms,
            listings::vmallocinfo_equals_the_guests_own,
            own_files::listing_version_and_cmdline,
            own_files::listing_iomem,
            own_files::listing_lsmod,
            own_files::listing_dmesg,
            own_files::listing_mounted_files,
            image::bytes_equal_the_guests_own_kcore,
            // Last: a thousand tasks stay behind.
            processes::ps_equals_the_guests_own,
        ];
        for check in checks {
            check(&guest);
        }
    }
}

/// Any two settings meet in every pair of their values, and each meets every kernel.
pub(crate) fn cover_every_pair() {
    let settings = |variant: &Variant| {
        [
            variant.kaslr == Kaslr::On,
            variant.cpus == 1,
            variant.memory_mib == SMALL,
            variant.levels == Levels::Four,
        ]
    };
    let all = all();
    for release in KernelRelease::ALL {
        for setting in 0..4 {
            let of_release = all.iter().filter(|variant| variant.release == release);
            let values: Vec<bool> = of_release.map(|v| settings(v)[setting]).collect();
            assert!(
                values.contains(&true) && values.contains(&false),
                "{release}"
            );
        }
    }
    for (a, b) in (0..4).flat_map(|a| (0..a).map(move |b| (a, b))) {
        for pair in [(false, false), (false, true), (true, false), (true, true)] {
            let met = |v: &Variant| (settings(v)[a], settings(v)[b]) == pair;
            assert!(
                all.iter().any(met),
                "settings {a} and {b} never are {pair:?}"
            );
        }
    }
}

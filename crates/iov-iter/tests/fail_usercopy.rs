//! Injected faults (I28).

use vread_iov_iter::{FailUsercopy, FaultAttr, FaultAttrError, FaultInjector, IovIter, Plain};

const ALWAYS: FaultAttr = FaultAttr {
    interval: 1,
    probability: 100,
    space: 0,
    times: None,
};

fn fails(attr: FaultAttr, checks: usize) -> Vec<bool> {
    let injector = FaultInjector::new(attr, 42);
    (0..checks).map(|_| injector.should_fail()).collect()
}

#[test]
fn always_fails_for_ever() {
    // I28: probability 100, interval 1, times -1
    assert_eq!(fails(ALWAYS, 1000), [true; 1000]);
}

#[test]
fn interval_fails_one_of_so_many() {
    let attr = FaultAttr {
        interval: 3,
        ..ALWAYS
    };
    assert_eq!(
        fails(attr, 7),
        [false, false, true, false, false, true, false]
    );
}

#[test]
fn space_is_used_up_first() {
    let attr = FaultAttr { space: 2, ..ALWAYS };
    assert_eq!(fails(attr, 4), [false, false, true, true]);
}

#[test]
fn times_bounds_the_failures() {
    let attr = FaultAttr {
        times: Some(2),
        ..ALWAYS
    };
    assert_eq!(fails(attr, 4), [true, true, false, false]);
    let attr = FaultAttr {
        times: Some(0),
        ..ALWAYS
    };
    assert_eq!(fails(attr, 4), [false; 4]);
}

#[test]
fn probability_is_a_share() {
    let attr = FaultAttr {
        probability: 0,
        ..ALWAYS
    };
    assert_eq!(fails(attr, 1000), [false; 1000]);
    let attr = FaultAttr {
        probability: 30,
        ..ALWAYS
    };
    let share = fails(attr, 10_000).into_iter().filter(|fail| *fail).count();
    assert!((2500..3500).contains(&share), "{share}");
}

#[test]
fn nth_check_fails_alone() {
    let injector = FaultInjector::fail_nth(3);
    let fails: Vec<bool> = (0..6).map(|_| injector.should_fail()).collect();
    assert_eq!(fails, [false, false, true, false, false, false]);
}

#[test]
fn words_are_those_of_the_boot_option() {
    let attr = FaultAttr {
        interval: 10,
        probability: 50,
        space: 7,
        times: Some(3),
    };
    assert_eq!("10,50,7,3".parse(), Ok(attr));
    assert_eq!("1,100,0,-1".parse(), Ok(ALWAYS));
    for word in [
        "",
        "1",
        "1,2,3",
        "1,2,3,4,5",
        "1,101,0,1",
        "-1,1,1,1",
        "1,1,1,-2",
        "a,1,1,1",
    ] {
        assert_eq!(word.parse::<FaultAttr>(), Err(FaultAttrError), "{word}");
    }
}

#[test]
fn piece_that_fails_is_not_touched() {
    // I22, I23: the whole piece, and the walk ends there (I15).
    let injector = FaultInjector::fail_nth(2);
    let (mut one, mut two) = ([0; 4], [0; 4]);
    let mut segments =
        [&mut one, &mut two].map(|bytes| FailUsercopy::new(Plain::new(bytes), &injector));
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.copy_to_iter_nofault(&[7; 8]), 4);
    assert_eq!(iter.count(), 4);
    assert_eq!((one, two), ([7; 4], [0; 4]));
}

#[test]
fn copy_goes_on_after_an_injected_fault() {
    // I28, K43: the retry gets there unless the fault fires every time.
    let injector = FaultInjector::new(
        FaultAttr {
            probability: 70,
            ..ALWAYS
        },
        7,
    );
    let mut buffer = [0; 64];
    let mut segments: Vec<_> = buffer
        .chunks_mut(8)
        .map(|bytes| FailUsercopy::new(Plain::new(bytes), &injector))
        .collect();
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.copy_to_iter(&[7; 40]), 40);
    assert_eq!(iter.zero(24), 24);

    let injector = FaultInjector::new(ALWAYS, 7);
    let mut segment = FailUsercopy::new(Plain::new(&mut buffer), &injector);
    assert_eq!(IovIter::ubuf(&mut segment).copy_to_iter(&[7; 40]), 0);
    assert_eq!(IovIter::ubuf(&mut segment).zero(40), 0);
}

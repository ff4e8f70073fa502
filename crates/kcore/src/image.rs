use alloc::vec::Vec;

use vread_addr::{ByteLen, FileOffset, PAGE_SIZE, VirtAddr};

use crate::elf::{EHDR_LEN, PHDR_LEN, Phdr, write_ehdr};
use crate::{ElfMachine, KcoreError, KcoreSegment, Note, OffsetRule, SegmentKind};

/// How many bytes can be read behind the notes of a [`KcoreImage::vmcore`], whatever follows: a reader
/// of notes may fetch a note's header and name past the last one.
const BEHIND_NOTES: ByteLen = ByteLen::new(64);

/// Which byte of the file is which byte of kernel memory, and the header that says so.
#[derive(Debug, Clone)]
pub struct KcoreImage {
    /// ELF header, program headers and notes, in one piece (K2).
    head: Vec<u8>,
    /// Where the data begins, page aligned: `D` of the specification (E7).
    data_offset: FileOffset,
    segments: Vec<PlacedSegment>,
    layout: Layout,
    size: ByteLen,
}

/// A segment, and where its first byte stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedSegment {
    /// The segment.
    pub segment: KcoreSegment,
    /// The file offset of its first byte (`p_offset`).
    pub offset: FileOffset,
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    /// Offsets follow addresses.
    Kcore(OffsetRule),
    /// One segment after another, in the order of `segments`.
    Vmcore,
}

/// What stands at a position of the data part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Kernel memory.
    Memory {
        /// The segment that holds the first byte.
        segment: &'a KcoreSegment,
        /// The address of the first byte.
        addr: VirtAddr,
        /// For how many bytes that holds, at least 1.
        len: ByteLen,
    },
    /// Nothing: zeros.
    Hole {
        /// For how many bytes, at least 1.
        len: ByteLen,
    },
}

impl KcoreImage {
    /// The file as the target's own kernel lays it out, segments in its order (E1 to E11).
    ///
    /// # Errors
    ///
    /// [`KcoreError::TooManySegments`] or [`KcoreError::TooLarge`].
    pub fn kcore(
        machine: ElfMachine,
        rule: OffsetRule,
        segments: &[KcoreSegment],
        notes: &[Note],
    ) -> Result<Self, KcoreError> {
        let notes = encode(notes)?;
        let data_offset = data_offset(segments.len(), &notes, ByteLen::ZERO)?;
        let place = |segment: &KcoreSegment| {
            let offset = data_offset.checked_add(rule.to_offset(segment.start));
            Some(PlacedSegment {
                segment: *segment,
                offset: offset?,
            })
        };
        let placed: Option<Vec<_>> = segments.iter().map(place).collect();
        // E11: not the end of the last segment in the file, but the largest offset of an end.
        let ends = segments
            .iter()
            .map(|segment| rule.to_offset(segment.wrapping_end()));
        let size = position(data_offset).checked_add(ends.max().unwrap_or_default());
        let parts = Parts {
            machine,
            data_offset,
            align: PAGE_SIZE.get(),
            notes,
        };
        parts.assemble(placed, size, Layout::Kcore(rule))
    }

    /// The file as a dump has it: the segments of kind text and RAM, text first and RAM ascending, one
    /// after another right behind the notes.
    ///
    /// `p_align` is 0: with a page-aligned first segment and another alignment, crash takes the file
    /// for a format of its own and applies no KASLR shift.
    ///
    /// # Errors
    ///
    /// [`KcoreError::TooManySegments`] or [`KcoreError::TooLarge`].
    pub fn vmcore(
        machine: ElfMachine,
        segments: &[KcoreSegment],
        notes: &[Note],
    ) -> Result<Self, KcoreError> {
        let of_kind = |kind| segments.iter().filter(move |segment| segment.kind == kind);
        let mut chosen: Vec<KcoreSegment> = of_kind(SegmentKind::Ram).copied().collect();
        chosen.sort_by_key(|segment| segment.phys);
        chosen.splice(0..0, of_kind(SegmentKind::Text).copied());

        let notes = encode(notes)?;
        let data_offset = data_offset(chosen.len(), &notes, BEHIND_NOTES)?;
        let mut placed = Vec::new();
        let mut end = Some(data_offset);
        for segment in chosen {
            let offset = end.ok_or(KcoreError::TooLarge)?;
            placed.push(PlacedSegment { segment, offset });
            end = offset
                .checked_add(segment.len)
                .and_then(FileOffset::checked_page_align_up);
        }
        let parts = Parts {
            machine,
            data_offset,
            align: 0,
            notes,
        };
        parts.assemble(Some(placed), end.map(position), Layout::Vmcore)
    }

    /// ELF header, program headers and notes.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Where the data begins (E7). Between the notes and here are zeros.
    #[must_use]
    pub fn data_offset(&self) -> FileOffset {
        self.data_offset
    }

    /// The segments in the order of their program headers.
    #[must_use]
    pub fn segments(&self) -> &[PlacedSegment] {
        &self.segments
    }

    /// The size of the file in bytes (E11).
    #[must_use]
    pub fn size(&self) -> ByteLen {
        self.size
    }

    /// Where `addr` stands in the file, or `None` if no segment holds it.
    #[must_use]
    pub fn offset_of(&self, addr: VirtAddr) -> Option<FileOffset> {
        let placed = self
            .segments
            .iter()
            .find(|placed| placed.segment.contains(addr))?;
        placed
            .offset
            .checked_add(addr.checked_offset_from(placed.segment.start)?)
    }

    /// What stands at `at`, which lies at or behind [`data_offset`](Self::data_offset).
    #[must_use]
    #[inline]
    pub fn place(&self, at: FileOffset) -> Place<'_> {
        // WRAP: a position inside the header is not asked for; it would be read as zeros.
        let offset = at.wrapping_offset_from(self.data_offset);
        match self.layout {
            Layout::Kcore(rule) => self.place_by_address(rule.to_vaddr(offset)),
            Layout::Vmcore => self.place_by_offset(at),
        }
    }

    /// K10: the first segment in list order wins, and is left only at a page border behind its end;
    /// likewise one that begins inside a page is met at the next page border.
    fn place_by_address(&self, addr: VirtAddr) -> Place<'_> {
        let segments = self.segments.iter().map(|placed| &placed.segment);
        let until = |end: VirtAddr| {
            // WRAP: an end at the top of the address space is 0.
            let end = VirtAddr::new(end.get().wrapping_add(PAGE_SIZE.low_mask())).page_start();
            match end.wrapping_offset_from(addr) {
                ByteLen::ZERO => addr.bytes_to_top(),
                len => len,
            }
        };
        if let Some(segment) = segments.clone().find(|segment| segment.contains(addr)) {
            let len = until(segment.wrapping_end());
            return Place::Memory { segment, addr, len };
        }
        let starts = segments.map(|segment| segment.start);
        let next = starts.filter(|start| *start > addr).min();
        Place::Hole {
            len: next.map_or(addr.bytes_to_top(), until),
        }
    }

    fn place_by_offset(&self, at: FileOffset) -> Place<'_> {
        let behind = self.segments.partition_point(|placed| placed.offset <= at);
        let next = self.segments.get(behind).map(|placed| placed.offset);
        let to_next = next.and_then(|next| next.checked_offset_from(at));
        let current = behind
            .checked_sub(1)
            .and_then(|index| self.segments.get(index));
        current
            .and_then(|placed| in_segment(placed, at))
            .unwrap_or(Place::Hole {
                len: to_next.unwrap_or(at.bytes_to_top()),
            })
    }
}

fn in_segment(placed: &PlacedSegment, at: FileOffset) -> Option<Place<'_>> {
    let into = at.checked_offset_from(placed.offset)?;
    let len = placed
        .segment
        .len
        .checked_sub(into)
        .filter(|len| !len.is_zero())?;
    let addr = placed.segment.start.checked_add(into)?;
    Some(Place::Memory {
        segment: &placed.segment,
        addr,
        len,
    })
}

/// What both layouts have in common, before it becomes bytes.
struct Parts {
    machine: ElfMachine,
    data_offset: FileOffset,
    align: u64,
    notes: Vec<u8>,
}

impl Parts {
    fn assemble(
        self,
        placed: Option<Vec<PlacedSegment>>,
        size: Option<ByteLen>,
        layout: Layout,
    ) -> Result<KcoreImage, KcoreError> {
        let segments = placed.ok_or(KcoreError::TooLarge)?;
        let size = size.ok_or(KcoreError::TooLarge)?;
        let phnum = phnum(segments.len())?;
        let mut head = Vec::new();
        write_ehdr(&mut head, self.machine, phnum);
        let note_offset = headers_len(phnum);
        let offset = FileOffset::new(note_offset.get());
        Phdr::Note {
            offset,
            len: ByteLen::from_usize(self.notes.len()),
        }
        .write_to(&mut head);
        for PlacedSegment { segment, offset } in &segments {
            Phdr::Load {
                offset: *offset,
                vaddr: segment.start.get(),
                paddr: segment.phys.map_or(u64::MAX, |phys| phys.get()),
                len: segment.len,
                align: self.align,
            }
            .write_to(&mut head);
        }
        head.extend_from_slice(&self.notes);
        Ok(KcoreImage {
            head,
            data_offset: self.data_offset,
            segments,
            layout,
            size,
        })
    }
}

fn encode(notes: &[Note]) -> Result<Vec<u8>, KcoreError> {
    let mut bytes = Vec::new();
    for note in notes {
        note.write_to(&mut bytes).ok_or(KcoreError::TooLarge)?;
    }
    Ok(bytes)
}

/// The note and the segments, one program header each; 0xffff is an escape in ELF.
fn phnum(segments: usize) -> Result<u16, KcoreError> {
    const LIMIT: u16 = 0xffff - 2;
    match u16::try_from(segments).ok().filter(|n| *n <= LIMIT) {
        Some(segments) => Ok(segments.saturating_add(1)),
        None => Err(KcoreError::TooManySegments {
            segments,
            limit: usize::from(LIMIT),
        }),
    }
}

fn headers_len(phnum: u16) -> ByteLen {
    let phdrs = u64::from(PHDR_LEN).saturating_mul(u64::from(phnum));
    ByteLen::new(u64::from(EHDR_LEN).saturating_add(phdrs))
}

/// The page-aligned end of headers, notes and `slack` bytes.
fn data_offset(segments: usize, notes: &[u8], slack: ByteLen) -> Result<FileOffset, KcoreError> {
    headers_len(phnum(segments)?)
        .checked_add(ByteLen::from_usize(notes.len()))
        .and_then(|end| end.checked_add(slack))
        .and_then(|end| FileOffset::new(end.get()).checked_page_align_up())
        .ok_or(KcoreError::TooLarge)
}

fn position(offset: FileOffset) -> ByteLen {
    ByteLen::new(offset.get())
}

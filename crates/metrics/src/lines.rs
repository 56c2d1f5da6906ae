//! f32 memory that begins where a cache line does: a vector that straddles two lines loads half as fast.

/// Values from a 64-byte boundary on.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Lines {
    pub(crate) fn zeros(length: usize) -> Self {
        const LINE: usize = 64;
        let values = vec![0.0_f32; length + LINE / size_of::<f32>()];
        // Where no such place is found, any will do: only speed depends on it.
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        Self { values, start, length }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.values[self.start..self.start + self.length]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.length]
    }
}

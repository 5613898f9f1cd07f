package transport

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// compress writes what fill writes, compressed, and then the end of the body. If fill fails there is no end.
func compress(to *chunkWriter, fill func(io.Writer) error) error {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowSize))
	if err != nil {
		return err
	}
	if err := fill(z); err != nil {
		z.Reset(io.Discard)
		return errors.Join(err, z.Close())
	}
	if err := z.Close(); err != nil {
		return err
	}
	return to.finish()
}

// decompressor reads what compress has written, in bounded memory whatever comes.
func decompressor(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4*windowSize), zstd.WithDecoderMaxWindow(windowSize))
}

package btrfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"unsafe"

	"github.com/dennwc/ioctl"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
)

// encodedArgs is struct btrfs_ioctl_encoded_io_args.
type encodedArgs struct {
	iov                *unix.Iovec
	count              uint64
	offset             int64
	_                  uint64 // flags
	len, decoded, skip uint64
	compression        uint32
	_                  uint32 // encryption
	_                  [64]byte
}

// How an extent is compressed: linux/btrfs.h, BTRFS_ENCODED_IO_COMPRESSION_*. From 3 on it is LZO with pages of 4 KiB and more.
const (
	encodedZlib = 1
	encodedZstd = 2
)

// maxExtent is what an extent can have when it is decompressed: 128 KiB, and room for other page sizes.
const maxExtent = 1 << 20

var iocEncodedWrite = ioctl.IOW(magic, 64, unsafe.Sizeof(encodedArgs{}))

// writeEncoded writes an extent as it is compressed, without decompressing it (Linux 6.0). The kernel does not look whether the
// data can be decompressed: who reads a file of a hostile stream may get EIO. It refuses where the file has no checksums, and
// what does not fit its sectors; that is decompressed.
func writeEncoded(f *os.File, c stream.Command) error {
	if c.Encryption != 0 || len(c.Data) == 0 || c.FileLen > math.MaxInt64 || c.Len > maxExtent || c.Skip > c.Len {
		return unix.EINVAL
	}
	iov := &unix.Iovec{Base: &c.Data[0]}
	iov.SetLen(len(c.Data))
	args := encodedArgs{
		iov: iov, count: 1, offset: int64(c.Offset), len: c.FileLen, decoded: c.Len, skip: c.Skip, compression: c.Compression,
	}
	err := ioctl.Do(f, iocEncodedWrite, &args)
	runtime.KeepAlive(iov)
	runtime.KeepAlive(&args) // the kernel reads both, and the compiler does not see it
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return writeDecoded(f, c)
	}
	return err
}

// writeDecoded writes what an extent holds.
func writeDecoded(f *os.File, c stream.Command) error {
	data, err := decode(c)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	if uint64(len(data)) < c.Skip+c.FileLen || c.FileLen > c.Len {
		return fmt.Errorf("%d bytes were compressed, and of them %d from %d on wanted: %w", len(data), c.FileLen, c.Skip, unix.EINVAL)
	}
	_, err = f.WriteAt(data[c.Skip:c.Skip+c.FileLen], int64(c.Offset))
	return err
}

// decode decompresses an extent. It has Len bytes; what is missing at its end is zeros.
func decode(c stream.Command) ([]byte, error) {
	out := make([]byte, c.Len)
	var in io.Reader
	switch c.Compression {
	case encodedZlib:
		z, err := zlib.NewReader(bytes.NewReader(c.Data))
		if err != nil {
			return nil, err
		}
		in = z
	case encodedZstd:
		z, err := zstd.NewReader(bytes.NewReader(c.Data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8<<20))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		in = z
	default:
		return nil, fmt.Errorf("by method %d, into a file that cannot hold it: %w", c.Compression, unix.EOPNOTSUPP)
	}
	_, err := io.ReadFull(in, out)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return out, err
}

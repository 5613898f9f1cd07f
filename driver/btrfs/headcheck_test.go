package btrfs

import (
	"bytes"
	"errors"
	"testing"

	"github.com/volsnap/volsnap/driver"
	st "github.com/volsnap/volsnap/driver/btrfs/internal/streamtest"
)

func TestHeadCheck(t *testing.T) {
	const uuidC = "2f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	full, step := st.Stream(uuidA), st.Step(uuidA, uuidB)
	for _, tc := range []struct {
		name       string
		stream     []byte
		guid, base string
		ok         bool
	}{
		{"full", full, uuidA, "", true},
		{"step", step, uuidA, uuidB, true},
		{"another GUID", full, uuidC, "", false},
		{"another base", step, uuidA, uuidC, false},
		{"full for a step", full, uuidA, uuidB, false},
		{"step for a full one", step, uuidA, "", false},
		{"garbage", bytes.Repeat([]byte("garbage"), 100_000), uuidA, "", false},
	} {
		for _, size := range []int{1, 20, 1 << 20} {
			var out bytes.Buffer
			h := &headCheck{w: &out, guid: tc.guid, base: tc.base}
			err := writeIn(h, tc.stream, size)
			if tc.ok != (err == nil) || tc.ok && !bytes.Equal(out.Bytes(), tc.stream) || !tc.ok && out.Len() > 0 {
				t.Errorf("%s, %d at a time: %v, %d bytes", tc.name, size, err, out.Len())
			}
			if err != nil && tc.name != "garbage" && !errors.Is(err, driver.ErrForeign) {
				t.Errorf("%s: %v, want ErrForeign", tc.name, err)
			}
		}
	}
}

func writeIn(h *headCheck, b []byte, size int) error {
	for i := 0; i < len(b); i += size {
		if _, err := h.Write(b[i:min(i+size, len(b))]); err != nil {
			return err
		}
	}
	return nil
}

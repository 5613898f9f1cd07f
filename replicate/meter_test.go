package replicate

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// Streams take as long as the bandwidth says, nothing of them is lost, and they end when their context does.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := int64(0)
		limit := rate.NewLimiter(1000, 100)
		r := &run{opt: Options{Bandwidth: limit, Progress: func(p Progress) { told = p.Sent }}}
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		m := &meter{to: &out, run: r, ctx: ctx}
		begin := time.Now()
		if n, err := m.Write(bytes.Repeat([]byte("x"), 5100)); n != 5100 || err != nil {
			t.Fatal(n, err)
		}
		if took := time.Since(begin); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
			t.Errorf("5,100 bytes at 1,000 a second, 100 of them at once, took %s", took)
		}
		if out.Len() != 5100 || m.n != 5100 || told != 5100 {
			t.Errorf("%d came, %d were counted and %d told", out.Len(), m.n, told)
		}
		cancel()
		if _, err := m.Write(make([]byte, 500)); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	})
}

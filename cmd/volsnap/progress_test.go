package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/volsnap/volsnap/replicate"
)

func TestRate(t *testing.T) {
	for want, tc := range map[string]struct {
		p    replicate.Progress
		took time.Duration
	}{
		"": {replicate.Progress{}, time.Second},
		", 1.0 GiB of about 3.0 GiB, 102 MiB/s, 20s left": {replicate.Progress{Set: "s", Sent: 1 << 30, Total: 3 << 30}, 10 * time.Second},
		", 1.0 GiB, 102 MiB/s":                            {replicate.Progress{Set: "s", Sent: 1 << 30}, 10 * time.Second},
		", 2.0 MiB, 1.0 MiB/s":                            {replicate.Progress{Set: "s", Sent: 2 << 20, Total: 1 << 20}, 2 * time.Second}, // a bad estimate
		", 0 B of about 1.0 KiB, 0 B/s":                   {replicate.Progress{Set: "s", Total: 1 << 10}, time.Second},
	} {
		if got := rate(tc.p, tc.took); got != want {
			t.Errorf("%+v after %s: %q, want %q", tc.p, tc.took, got, want)
		}
	}
}

// A log line begins where the line that shows progress was, and that fits the terminal.
func TestProgressAndLog(t *testing.T) {
	var out bytes.Buffer
	p := &program{stderr: &out}
	bar := &progress{p: p, shown: true}
	p.bar.Store(bar)
	if _, err := (logWriter{p}).Write([]byte("a line\n")); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "\r\033[Ka line\n" || bar.shown {
		t.Errorf("%q", got)
	}
	if got := cut("replicating … 3s", 14); got != "replicating …" {
		t.Errorf("%q", got)
	}
}

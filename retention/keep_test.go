package retention_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/retention"
)

func TestParseKeep(t *testing.T) {
	for in, want := range map[string]retention.Policy{
		"last=2,daily=30,monthly=24,within=48h": {Last: 2, Daily: 30, Monthly: 24, Within: 48 * time.Hour},
		"yearly=-1,hourly=24,weekly=0":          {Yearly: -1, Hourly: 24},
		"within=2d12h":                          {Within: 60 * time.Hour},
		"within=1w":                             {Within: 7 * 24 * time.Hour},
		"last=1000000":                          {Last: retention.MaxCount},
		"within=0s":                             {},
		"last=0":                                {},
		"all":                                   {},
	} {
		got, err := retention.ParseKeep(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ParseKeep(%q): %v\n%s", in, err, diff)
		}
	}
}

func TestParseKeepRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                             `"" is no rule`,
		"last":                         `"last" is no rule`,
		"last=":                        `last: "" is no number`,
		"=2":                           `unknown rule ""`,
		"last=2,":                      `"" is no rule`,
		",last=2":                      `"" is no rule`,
		"last=2,last=3":                `last is given twice`,
		"last=2, daily=3":              `unknown rule " daily"`,
		"Last=2":                       `unknown rule "Last" (rules: last, hourly, daily, weekly, monthly, yearly, within)`,
		"minutely=2":                   `unknown rule "minutely"`,
		"all,last=2":                   `"all" is no rule`,
		"last=-2":                      `last: -2 is out of range: want 0 to 1000000, or -1 for without end`,
		"last=1000001":                 `out of range`,
		"last=99999999999999999999":    `out of range`,
		"last=+2":                      `"+2" is no number`,
		"last=02":                      `"02" is no number`,
		"last=-0":                      `"-0" is no number`,
		"last=0x2":                     `"0x2" is no number`,
		"last=1_0":                     `"1_0" is no number`,
		"last=2.5":                     `"2.5" is no number`,
		"last=two":                     `"two" is no number`,
		"last=2=3":                     `"2=3" is no number`,
		"within=48":                    `within: "48" has no unit: write 48s, 48m, 48h, 48d or 48w`,
		"within=":                      `within: "" is no length of time`,
		"within=-48h":                  `has a sign`,
		"within=2d-5h":                 `has a sign`,
		"within=-2d":                   `no length of time`,
		"within=d":                     `no length of time`,
		"within=5h2d":                  `no length of time`,
		"within=1d2w":                  `no length of time`,
		"within=1.5d":                  `no length of time`,
		"within=1y":                    `no length of time`,
		"within=48 h":                  `no length of time`,
		"within=36501d":                `too long: at most 36500d`,
		"within=36500d1h":              `too long`,
		"within=876001h":               `too long`,
		"within=99999999999999999999h": `no length of time`,
		"within=99999999999999999999d": `too long`,
		"within=4294967296w":           `too long`,
		"last=2\n":                     `is no number`,
		"last=2\x00":                   `is no number`,
	} {
		if p, err := retention.ParseKeep(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKeep(%q) = %s, %v; want an error with %q", in, p, err, want)
		}
	}
}

func TestKeepRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		if got, err := retention.ParseKeep(p.String()); err != nil || got != p {
			t.Fatalf("ParseKeep(%q) = %+v, %v; want %+v", p, got, err, p)
		}
		d := time.Duration(rapid.Int64Range(0, int64(retention.MaxDuration)).Draw(t, "duration"))
		d = d.Truncate(rapid.SampledFrom([]time.Duration{1, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit"))
		if got, err := retention.ParseDuration(retention.FormatDuration(d)); err != nil || got != d {
			t.Fatalf("ParseDuration(%q) = %s, %v; want %s", retention.FormatDuration(d), got, err, d)
		}
	})
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 48 * time.Hour: "48h", 72 * time.Hour: "3d",
		100 * time.Hour: "100h", 7 * 24 * time.Hour: "7d", time.Hour + time.Second: "1h0m1s", 100 * time.Millisecond: "100ms",
	} {
		if got := retention.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %s, want %s", d, got, want)
		}
	}
}

func FuzzParseKeep(f *testing.F) {
	for _, seed := range []string{"last=2,daily=30,monthly=24,within=48h", "yearly=-1,within=1w2d3h", "all", "last=", "within=1.5h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := retention.ParseKeep(s)
		if err != nil {
			return
		}
		for _, n := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
			if n < -1 || n > retention.MaxCount {
				t.Fatalf("%q gives the count %d", s, n)
			}
		}
		if p.Within < 0 || p.Within > retention.MaxDuration {
			t.Fatalf("%q gives within %s", s, p.Within)
		}
		if again, err := retention.ParseKeep(p.String()); err != nil || again != p {
			t.Fatalf("%q: %q gives %+v, %v; want %+v", s, p, again, err, p)
		}
	})
}

package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxDuration is the longest time that ParseDuration accepts: 100 years of 365 days.
const MaxDuration = 100 * 365 * 24 * time.Hour

// ParseDuration reads a length of time: weeks, days and what time.ParseDuration reads, in this order and without a sign:
// "48h", "7d", "2w", "2d12h30m". A day is 24 hours and a week seven days, whatever the calendar does. It is from 0 to
// MaxDuration.
func ParseDuration(s string) (time.Duration, error) {
	rest := s
	total := time.Duration(0)
	for _, unit := range []struct {
		name   string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if errors.Is(err, strconv.ErrRange) || err == nil && n > uint64(MaxDuration/unit.length) {
			return 0, tooLong(s)
		}
		if err != nil {
			return 0, noDuration(s)
		}
		total += time.Duration(n) * unit.length
		rest = after
	}
	if rest != "" || total == 0 && rest == s {
		d, err := parseHours(s, rest)
		if err != nil {
			return 0, err
		}
		total += d
	}
	if total > MaxDuration {
		return 0, tooLong(s)
	}
	return total, nil
}

func parseHours(whole, s string) (time.Duration, error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return 0, fmt.Errorf("%q has no unit: write %[2]ss, %[2]sm, %[2]sh, %[2]sd or %[2]sw", whole, s)
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("%q has a sign: want a length of time such as 90s, 48h, 7d or 2w", whole)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, noDuration(whole)
	}
	if d > MaxDuration {
		return 0, tooLong(whole)
	}
	return d, nil
}

func noDuration(s string) error {
	return fmt.Errorf("%q is no length of time such as 90s, 48h, 7d or 2w", s)
}

func tooLong(s string) error {
	return fmt.Errorf("%q is too long: at most %s", s, FormatDuration(MaxDuration))
}

// FormatDuration writes a length of time in a form that ParseDuration reads: "48h", "1h30m", and whole days from three on
// as days: "7d".
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 3*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxCount is the greatest count that ParseKeep accepts.
const MaxCount = 1_000_000

const keepAll = "all"

// ParseKeep reads a policy as it is written on a command line: "last=2,daily=30,within=48h", or "all" for the policy
// that has no rule and keeps everything. The rules are last, hourly, daily, weekly, monthly, yearly (0 to MaxCount, or
// -1 for without end) and within (see ParseDuration). It is strict: no spaces, nothing twice, nothing empty.
func ParseKeep(s string) (Policy, error) {
	if s == keepAll {
		return Policy{}, nil
	}
	var p Policy
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return Policy{}, fmt.Errorf("parse keep %q: %q is no rule: want RULE=NUMBER, such as daily=7", s, part)
		}
		if seen[name] {
			return Policy{}, fmt.Errorf("parse keep %q: %s is given twice", s, name)
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return Policy{}, fmt.Errorf("parse keep %q: %w", s, err)
		}
	}
	return p, nil
}

func (p *Policy) set(name, value string) (err error) {
	if name == "within" {
		if p.Within, err = ParseDuration(value); err != nil {
			return fmt.Errorf("within: %w", err)
		}
		return nil
	}
	count := p.counts()[name]
	if count == nil {
		return fmt.Errorf("unknown rule %q (rules: %s, within)", name, strings.Join(countNames, ", "))
	}
	if *count, err = parseCount(value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

var countNames = []string{"last", "hourly", "daily", "weekly", "monthly", "yearly"}

func (p *Policy) counts() map[string]*int {
	return map[string]*int{
		"last": &p.Last, "hourly": &p.Hourly, "daily": &p.Daily,
		"weekly": &p.Weekly, "monthly": &p.Monthly, "yearly": &p.Yearly,
	}
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) || err == nil && (n < -1 || n > MaxCount) {
		return 0, fmt.Errorf("%s is out of range: want 0 to %d, or -1 for without end", s, MaxCount)
	}
	if err != nil || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return n, nil
}

// String is the policy in the form that ParseKeep reads; rules that are absent are left out.
func (p Policy) String() string {
	if p.empty() {
		return keepAll
	}
	var parts []string
	counts := p.counts()
	for _, name := range countNames {
		if n := *counts[name]; n != 0 {
			parts = append(parts, name+"="+strconv.Itoa(max(n, -1)))
		}
	}
	if p.Within > 0 {
		parts = append(parts, "within="+FormatDuration(p.Within))
	}
	return strings.Join(parts, ",")
}

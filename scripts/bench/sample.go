package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is what one thing took, measured several times.
type sample []time.Duration

// at is the value that a share of the values does not exceed (nearest rank).
func (s sample) at(share float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := int(share*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func (s sample) median() time.Duration { return s.at(0.5) }

// cells are the columns of statistics.
func (s sample) cells() []string {
	if len(s) == 0 {
		return []string{"0", "–", "–", "–", "–"}
	}
	return []string{
		fmt.Sprint(len(s)), milliseconds(s.median()), milliseconds(s.at(0.99)), milliseconds(s.at(1)),
		milliseconds(s.at(0.25)) + " to " + milliseconds(s.at(0.75)),
	}
}

var statistics = []string{"n", "median", "p99", "maximum", "middle half"}

// ratio says how many times b goes into a, by medians.
func ratio(a, b sample) string {
	if len(a) == 0 || b.median() == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", float64(a.median())/float64(b.median()))
}

func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}

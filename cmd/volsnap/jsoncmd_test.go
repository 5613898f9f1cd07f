package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdJSON compares one value of a JSON document. The path is names and indexes with dots between them, "." for all of it;
// "len" at its end is the number of elements. The value is a string as it is, or other JSON without spaces, or one of
//
//	TIME        an RFC 3339 time in UTC
//	NUMBER      a number of 0 or more
//	~REGEXP     a string that matches all of it
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 3, "[!] json FILE PATH VALUE")
	err := compareJSON(ts.ReadFile(args[0]), args[1], args[2])
	if neg == (err == nil) {
		ts.Fatalf("json %q: %v", args, err)
	}
}

// cmdKeys checks that an object has these fields and no other.
func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2, "keys FILE PATH NAME...")
	v, err := at(ts.ReadFile(args[0]), args[1])
	ts.Check(err)
	object, ok := v.(map[string]any)
	if !ok {
		ts.Fatalf("%s is no object", args[1])
	}
	want := slices.Sorted(slices.Values(args[2:]))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(object))); diff != "" {
		ts.Fatalf("fields of %s (-want +got)\n%s", args[1], diff)
	}
}

func compareJSON(doc, path, want string) error {
	v, err := at(doc, path)
	if err != nil {
		return err
	}
	s, isString := v.(string)
	pattern, isPattern := strings.CutPrefix(want, "~")
	number, isNumber := v.(float64)
	switch {
	case want == "NUMBER":
		if !isNumber || number < 0 {
			return fmt.Errorf("%w: %v is no number of 0 or more", errNotEqual, v)
		}
	case want == "TIME":
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || !strings.HasSuffix(s, "Z") || t.IsZero() {
			return fmt.Errorf("%w: %v is no RFC 3339 time in UTC", errNotEqual, v)
		}
	case isPattern:
		if !isString || !regexp.MustCompile(`(?s)^(?:`+pattern+`)$`).MatchString(s) {
			return fmt.Errorf("%w: %v does not match", errNotEqual, v)
		}
	default:
		got := s
		if !isString {
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			got = string(text)
		}
		if got != want {
			return fmt.Errorf("%w: got %s", errNotEqual, got)
		}
	}
	return nil
}

// at finds a value; the document must be the only one.
func at(doc, path string) (v any, err error) {
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		return nil, err
	}
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' }) {
		switch in := v.(type) {
		case map[string]any:
			field, ok := in[name]
			if !ok {
				return nil, fmt.Errorf("no field %q", name)
			}
			v = field
		case []any:
			if name == "len" {
				v = float64(len(in))
				continue
			}
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil, fmt.Errorf("no element %q of %d", name, len(in))
			}
			v = in[i]
		default:
			return nil, fmt.Errorf("nothing is in %v", v)
		}
	}
	return v, nil
}

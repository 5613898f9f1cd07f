package config

import (
	"slices"
	"strings"
	"time"
)

const (
	leastDrill, mostDrill = time.Second, 24 * time.Hour
	maxQuery              = 64 << 10
)

var contents = []string{"sample", "full", "none"}

func defaultDrill() Drill { return Drill{Content: DefaultContent, Timeout: DefaultDrillTimeout} }

func readDrill(v value, volumes []Volume) Drill {
	d := defaultDrill()
	f := v.fields("query", "database", "user", "volume", "content", "timeout")
	query, hasQuery := f.get("query")
	vol, hasVolume := f.get("volume")
	if hasQuery {
		d.Query = query.query()
	}
	if hasVolume {
		d.Volume = vol.volumeOf(volumes)
	}
	switch {
	case hasQuery && !hasVolume:
		query.fail("has no volume beside it: say below which one the paths are that it returns")
	case hasVolume && !hasQuery:
		vol.fail("has no query beside it: say how the paths below it are found, or leave it out")
	}
	if user, ok := f.get("user"); ok {
		d.User, _ = user.name("a PostgreSQL user", "postgres", postgresPattern, maxRole)
	}
	if db, ok := f.get("database"); ok {
		d.Database, _ = db.name("a PostgreSQL database", "postgres", postgresPattern, maxRole)
	}
	if content, ok := f.get("content"); ok {
		s, ok := content.str(DefaultContent)
		switch {
		case !ok:
		case !slices.Contains(contents, s):
			content.fail("want sample, full or none, got %s", quote(s))
		default:
			d.Content = s
		}
	}
	d.Timeout = f.span("timeout", DefaultDrillTimeout, leastDrill, mostDrill)
	return d
}

// query is SQL, on one line or several.
func (v value) query() string {
	if !v.want(text, `"SELECT path FROM files"`) {
		return ""
	}
	switch {
	case strings.TrimSpace(v.text) == "":
		v.fail("is empty: leave the key out for no query")
	case len(v.text) > maxQuery:
		v.fail("is longer than %d bytes", maxQuery)
	case strings.ContainsFunc(strings.NewReplacer("\n", "", "\t", "").Replace(v.text), isControl):
		v.fail("contains an unprintable character")
	case strings.HasPrefix(strings.TrimSpace(v.text), "\\"):
		v.fail("%s is a command of psql: want SQL", quote(v.text))
	default:
		return v.text
	}
	return ""
}

// volumeOf is the name of a volume of the app. Which volumes a whole project has, or an app whose sets another host takes, is not
// known here.
func (v value) volumeOf(volumes []Volume) string {
	if strings.HasPrefix(v.text, "/") && v.kind == text {
		if path, ok := v.path(); !ok || !v.listed(path, volumes) {
			return ""
		}
		return v.text
	}
	name, ok := v.volume()
	if !ok || !v.listed(name, volumes) {
		return ""
	}
	return name
}

func (v value) listed(name string, volumes []Volume) bool {
	var names []string
	for _, vol := range volumes {
		names = append(names, vol.Name())
	}
	if len(names) > 0 && !slices.Contains(names, name) {
		v.fail("no volume %s in this app%s", quote(name), suggest(name, names, "volumes"))
		return false
	}
	return true
}

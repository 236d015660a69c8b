"""Facts of the task ``suggest``: short questions with one short answer, in families, written for this project.

Only what has one usual answer is here: countries with one seat of government, one main language, verbs with one past
tense; and only families that SmolLM2-135M answers above 90% when nothing is suggested (it cannot count). A wrong
suggestion is the answer of another fact of the same family.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A question with its answer."""

    family: str
    subject: str
    answer: str

    @property
    def key(self) -> str:
        """Names the fact; no two share it."""
        return f"{self.family}/{self.subject}"

    @property
    def question(self) -> str:
        """The question about it."""
        return QUESTIONS[self.family].format(self.subject)

    @property
    def statement(self) -> str:
        """The sentence that the answer completes."""
        return STATEMENTS[self.family].format(self.subject)


QUESTIONS: Mapping[str, str] = {
    "capital": "What is the capital of {}?",
    "opposite": "What is the opposite of {}?",
    "past": "What is the past tense of the verb {}?",
    "plural": "What is the plural of the word {}?",
    "comparative": "What is the comparative of the word {}?",
    "language": "What is the main language of {}?",
    "continent": "Which continent is {} in?",
    "young": "What is a young {} called?",
    "symbol": "What is the chemical symbol of {}?",
    "currency": "What is the currency of {}?",
    "day": "Which day comes right after {}?",
}
"""The question of each family."""
STATEMENTS: Mapping[str, str] = {
    "capital": "The capital of {} is",
    "opposite": "The opposite of {} is",
    "past": "Today I {}, yesterday I",
    "plural": "There is one {}, and there are two",
    "comparative": "Yesterday it was {}, and today it is even",
    "language": "The main language of {} is",
    "continent": "The continent that {} is in is",
    "young": "The young of a {} is called a",
    "symbol": "In the periodic table {} has the symbol",
    "currency": "The money of {} is the",
    "day": "The day right after {} is",
}
"""The sentence that the answer completes, for each family."""

_CAPITAL = """
France: Paris; Germany: Berlin; Italy: Rome; Spain: Madrid; Portugal: Lisbon; Greece: Athens; Austria: Vienna;
Belgium: Brussels; Denmark: Copenhagen; Norway: Oslo; Sweden: Stockholm; Finland: Helsinki; Poland: Warsaw;
Hungary: Budapest; Romania: Bucharest; Bulgaria: Sofia; Croatia: Zagreb; Serbia: Belgrade; Ireland: Dublin;
Iceland: Reykjavik; Russia: Moscow; Turkey: Ankara; Egypt: Cairo; Kenya: Nairobi; Ethiopia: Addis Ababa;
Ghana: Accra; Senegal: Dakar; Morocco: Rabat; Algeria: Algiers; Tunisia: Tunis; Libya: Tripoli; Iran: Tehran;
Iraq: Baghdad; Syria: Damascus; Lebanon: Beirut; Jordan: Amman; India: New Delhi; Nepal: Kathmandu;
Bangladesh: Dhaka; Thailand: Bangkok; Vietnam: Hanoi; China: Beijing; Japan: Tokyo; South Korea: Seoul;
Mongolia: Ulaanbaatar; Canada: Ottawa; Cuba: Havana; Jamaica: Kingston; Peru: Lima; Argentina: Buenos Aires;
Uruguay: Montevideo; Venezuela: Caracas; Colombia: Bogotá; Ecuador: Quito; Australia: Canberra;
New Zealand: Wellington; Ukraine: Kyiv; Latvia: Riga; Estonia: Tallinn; Lithuania: Vilnius; Uganda: Kampala;
Zimbabwe: Harare; Afghanistan: Kabul; the Philippines: Manila; Saudi Arabia: Riyadh
"""
_OPPOSITE = """
hot: cold; big: small; tall: short; fast: slow; young: old; happy: sad; rich: poor; hard: soft; heavy: light;
strong: weak; wet: dry; clean: dirty; full: empty; early: late; high: low; deep: shallow; wide: narrow; thick: thin;
loud: quiet; open: closed; good: bad; true: false; right: wrong; inside: outside; up: down; left: right;
first: last; above: below; before: after; always: never; everything: nothing; love: hate; win: lose; buy: sell;
give: take; push: pull; start: finish; begin: end; day: night; summer: winter; north: south; east: west;
male: female; war: peace; life: death; friend: enemy; question: answer; rise: fall; come: go; remember: forget;
black: white; sweet: sour; sharp: dull; brave: cowardly; guilty: innocent; ancient: modern; near: far;
positive: negative; arrive: depart; increase: decrease; accept: reject; asleep: awake; entrance: exit;
maximum: minimum; success: failure; expensive: cheap; difficult: easy; dark: light; smooth: rough; tight: loose
"""
_PAST = """
go: went; see: saw; eat: ate; take: took; give: gave; come: came; run: ran; write: wrote; speak: spoke; break: broke;
drive: drove; fly: flew; swim: swam; sing: sang; drink: drank; begin: began; ring: rang; buy: bought; think: thought;
bring: brought; teach: taught; catch: caught; fight: fought; feel: felt; keep: kept; sleep: slept; leave: left;
lose: lost; find: found; hold: held; tell: told; sell: sold; stand: stood; understand: understood; make: made;
say: said; hear: heard; build: built; send: sent; spend: spent; meet: met; sit: sat; win: won; wear: wore;
grow: grew; know: knew; throw: threw; draw: drew; choose: chose; forget: forgot; fall: fell; steal: stole;
freeze: froze; rise: rose; ride: rode; hide: hid; bite: bit; shake: shook; become: became; do: did; have: had;
pay: paid; walk: walked; play: played; jump: jumped; work: worked
"""
_PLURAL = """
child: children; man: men; woman: women; foot: feet; tooth: teeth; mouse: mice; goose: geese; person: people;
knife: knives; life: lives; wife: wives; leaf: leaves; wolf: wolves; half: halves; shelf: shelves; thief: thieves;
city: cities; baby: babies; story: stories; country: countries; family: families; lady: ladies; party: parties;
box: boxes; bus: buses; dish: dishes; church: churches; watch: watches; fox: foxes; class: classes; hero: heroes;
potato: potatoes; tomato: tomatoes; crisis: crises; analysis: analyses; ox: oxen; dog: dogs; cat: cats; house: houses;
car: cars; book: books; tree: trees; apple: apples; key: keys; toy: toys; boy: boys; girl: girls; horse: horses
"""
_COMPARATIVE = """
big: bigger; small: smaller; tall: taller; short: shorter; fast: faster; slow: slower; old: older; young: younger;
hot: hotter; cold: colder; good: better; bad: worse; happy: happier; easy: easier; heavy: heavier; light: lighter;
strong: stronger; weak: weaker; long: longer; high: higher; low: lower; deep: deeper; wide: wider; thin: thinner;
thick: thicker; rich: richer; poor: poorer; cheap: cheaper; clean: cleaner; dirty: dirtier; busy: busier;
funny: funnier; early: earlier; late: later; hard: harder; soft: softer; loud: louder; quiet: quieter;
bright: brighter; dark: darker; smart: smarter; kind: kinder; warm: warmer; cool: cooler; large: larger
"""
_LANGUAGE = """
France: French; Germany: German; Italy: Italian; Spain: Spanish; Portugal: Portuguese; Greece: Greek; Poland: Polish;
Russia: Russian; Japan: Japanese; Hungary: Hungarian; Sweden: Swedish; Norway: Norwegian; Denmark: Danish;
Finland: Finnish; Iceland: Icelandic; Turkey: Turkish; Thailand: Thai; Vietnam: Vietnamese; Bulgaria: Bulgarian;
Romania: Romanian; Brazil: Portuguese; Mexico: Spanish; Egypt: Arabic; Austria: German; Argentina: Spanish;
Australia: English; England: English; Albania: Albanian; Croatia: Croatian; Lithuania: Lithuanian; Latvia: Latvian;
Estonia: Estonian; Slovenia: Slovenian; Cuba: Spanish; Saudi Arabia: Arabic; Mongolia: Mongolian; Iraq: Arabic;
Chile: Spanish; Nepal: Nepali; Bangladesh: Bengali
"""
_CONTINENT = """
France: Europe; Kenya: Africa; Japan: Asia; Germany: Europe; Nigeria: Africa; India: Asia; Italy: Europe;
Ghana: Africa; China: Asia; Spain: Europe; Morocco: Africa; Thailand: Asia; Poland: Europe; Ethiopia: Africa;
Vietnam: Asia; Sweden: Europe; Algeria: Africa; Mongolia: Asia; Norway: Europe; Zambia: Africa; Nepal: Asia;
Portugal: Europe; Senegal: Africa; South Korea: Asia; Greece: Europe; Uganda: Africa; Pakistan: Asia;
Austria: Europe; Tanzania: Africa; Bangladesh: Asia; Ireland: Europe; Libya: Africa; Iraq: Asia; Hungary: Europe;
Angola: Africa; Cambodia: Asia; Finland: Europe; Mali: Africa; Iran: Asia; Belgium: Europe; Chad: Africa; Laos: Asia
"""
_YOUNG = """
dog: puppy; cat: kitten; cow: calf; horse: foal; sheep: lamb; goat: kid; bear: cub; frog: tadpole; duck: duckling;
goose: gosling; swan: cygnet; deer: fawn; kangaroo: joey; pig: piglet; hen: chick; eagle: eaglet; owl: owlet;
human: baby; butterfly: caterpillar; hare: leveret
"""
_SYMBOL = """
gold: Au; silver: Ag; iron: Fe; copper: Cu; lead: Pb; sodium: Na; potassium: K; oxygen: O; hydrogen: H; carbon: C;
nitrogen: N; helium: He; calcium: Ca; magnesium: Mg; zinc: Zn; tin: Sn; mercury: Hg; chlorine: Cl; iodine: I;
sulfur: S; aluminum: Al; silicon: Si; nickel: Ni; uranium: U; neon: Ne; lithium: Li; titanium: Ti; fluorine: F
"""
_CURRENCY = """
Japan: yen; India: rupee; Russia: ruble; China: yuan; Mexico: peso; Thailand: baht; Brazil: real; Poland: zloty;
Sweden: krona; Denmark: krone; Germany: euro; South Africa: rand; Israel: shekel; Vietnam: dong; South Korea: won;
Canada: dollar; Kuwait: dinar; Hungary: forint; Iran: rial; Turkey: lira; Saudi Arabia: riyal; Ukraine: hryvnia
"""
_DAY = """
Monday: Tuesday; Tuesday: Wednesday; Wednesday: Thursday; Thursday: Friday; Friday: Saturday; Saturday: Sunday;
Sunday: Monday
"""
_TEXTS = {
    "capital": _CAPITAL,
    "opposite": _OPPOSITE,
    "past": _PAST,
    "plural": _PLURAL,
    "comparative": _COMPARATIVE,
    "language": _LANGUAGE,
    "continent": _CONTINENT,
    "young": _YOUNG,
    "symbol": _SYMBOL,
    "currency": _CURRENCY,
    "day": _DAY,
}


def _read(family: str, text: str) -> tuple[Fact, ...]:
    rows = (row.strip().split(": ") for row in " ".join(text.split()).split(";"))
    return tuple(Fact(family, subject, answer) for subject, answer in rows)


FACTS: Mapping[str, tuple[Fact, ...]] = {name: _read(name, text) for name, text in _TEXTS.items()}
"""Facts of each family."""

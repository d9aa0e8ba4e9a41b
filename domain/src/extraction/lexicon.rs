//! What words mean by themselves: numbers, units of time, months, weekdays, fractions, in English, German, French, Spanish.
//! Words are folded: lower case, without accents.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    De,
    Fr,
    Es,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Fortnight,
    Month,
    Quarter,
    Half,
    Year,
}

/// What a word can mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sense {
    /// A number.
    Num(u32),
    /// A place in an order; `-1` is the last, `-2` the one before.
    Ord(i32),
    /// A unit of time.
    Unit(Unit),
    /// A month.
    Month(i8),
    /// A weekday, Monday is 1.
    Weekday(i8),
    /// A part of one.
    Part(u32),
    /// A rhythm: days between two of it; zero is one that whole days do not tell.
    Rhythm(u32),
    /// "every".
    Every,
    /// "other", as in "every other".
    Other,
    /// "next", "coming".
    Next,
    /// "this".
    This,
    /// A day counted from today.
    Today(i32),
    /// "percent".
    Percent,
    /// "a", "one" of something.
    Article,
    /// Negates what follows.
    No,
    /// Everything there is.
    All,
    /// Nothing at all.
    Nothing,
    /// Not a value: a size without a number.
    Vague,
    /// Not a value: a time without a date.
    Sometime,
    /// A word of grammar that tells nothing of a plan.
    Small,
}

type Table = &'static [(Lang, Sense, &'static str)];

use Lang::{De, En, Es, Fr};
use Sense::{All, Article, Every, Next, No, Nothing, Other, Part, Percent, Small, Sometime, This, Today, Vague};

const WORDS: Table = &[
    (En, Sense::Unit(Unit::Day), "day days"),
    (En, Sense::Unit(Unit::Week), "week weeks wk wks weekss wek weks"),
    (En, Sense::Unit(Unit::Fortnight), "fortnight fortnights"),
    (En, Sense::Unit(Unit::Month), "month months mth mths mo"),
    (En, Sense::Unit(Unit::Quarter), "quarter quarters qtr"),
    (En, Sense::Unit(Unit::Half), "semester semesters"),
    (En, Sense::Unit(Unit::Year), "year years yr yrs"),
    (De, Sense::Unit(Unit::Day), "tag tage tagen tages"),
    (De, Sense::Unit(Unit::Week), "woche wochen wo saisonwoche verkaufswoche planwoche"),
    (De, Sense::Unit(Unit::Month), "monat monate monaten monats"),
    (De, Sense::Unit(Unit::Quarter), "quartal quartale quartalen quartals vierteljahr"),
    (De, Sense::Unit(Unit::Half), "halbjahr halbjahre halbjahres"),
    (De, Sense::Unit(Unit::Year), "jahr jahre jahren jahres"),
    (Fr, Sense::Unit(Unit::Day), "jour jours"),
    (Fr, Sense::Unit(Unit::Week), "semaine semaines sem"),
    (Fr, Sense::Unit(Unit::Fortnight), "quinzaine"),
    (Fr, Sense::Unit(Unit::Month), "mois"),
    (Fr, Sense::Unit(Unit::Quarter), "trimestre trimestres"),
    (Fr, Sense::Unit(Unit::Half), "semestre semestres"),
    (Fr, Sense::Unit(Unit::Year), "an ans annee annees"),
    (Es, Sense::Unit(Unit::Day), "dia dias"),
    (Es, Sense::Unit(Unit::Week), "semana semanas"),
    (Es, Sense::Unit(Unit::Fortnight), "quincena quincenas"),
    (Es, Sense::Unit(Unit::Month), "mes meses"),
    (Es, Sense::Unit(Unit::Year), "ano anos"),
    (En, Sense::Weekday(1), "monday mondays mon"),
    (En, Sense::Weekday(2), "tuesday tuesdays tue tues"),
    (En, Sense::Weekday(3), "wednesday wednesdays wed"),
    (En, Sense::Weekday(4), "thursday thursdays thu thur thurs"),
    (En, Sense::Weekday(5), "friday fridays fri"),
    (En, Sense::Weekday(6), "saturday saturdays sat"),
    (En, Sense::Weekday(7), "sunday sundays sun"),
    (De, Sense::Weekday(1), "montag montags"),
    (De, Sense::Weekday(2), "dienstag dienstags"),
    (De, Sense::Weekday(3), "mittwoch mittwochs"),
    (De, Sense::Weekday(4), "donnerstag donnerstags"),
    (De, Sense::Weekday(5), "freitag freitags"),
    (De, Sense::Weekday(6), "samstag sonnabend"),
    (De, Sense::Weekday(7), "sonntag"),
    (Fr, Sense::Weekday(1), "lundi lundis"),
    (Fr, Sense::Weekday(2), "mardi mardis"),
    (Fr, Sense::Weekday(3), "mercredi mercredis"),
    (Fr, Sense::Weekday(4), "jeudi jeudis"),
    (Fr, Sense::Weekday(5), "vendredi vendredis"),
    (Fr, Sense::Weekday(6), "samedi"),
    (Fr, Sense::Weekday(7), "dimanche"),
    (Es, Sense::Weekday(1), "lunes"),
    (Es, Sense::Weekday(2), "martes"),
    (Es, Sense::Weekday(3), "miercoles"),
    (Es, Sense::Weekday(4), "jueves"),
    (Es, Sense::Weekday(5), "viernes"),
    (Es, Sense::Weekday(6), "sabado"),
    (Es, Sense::Weekday(7), "domingo"),
    (En, Sense::Month(1), "january jan"),
    (En, Sense::Month(2), "february feb"),
    (En, Sense::Month(3), "march mar mrch"),
    (En, Sense::Month(4), "april apr"),
    (En, Sense::Month(5), "may"),
    (En, Sense::Month(6), "june jun"),
    (En, Sense::Month(7), "july jul"),
    (En, Sense::Month(8), "august aug"),
    (En, Sense::Month(9), "september sep sept"),
    (En, Sense::Month(10), "october oct"),
    (En, Sense::Month(11), "november nov"),
    (En, Sense::Month(12), "december dec"),
    (De, Sense::Month(1), "januar janner"),
    (De, Sense::Month(2), "februar"),
    (De, Sense::Month(3), "marz maerz mrz"),
    (De, Sense::Month(5), "mai"),
    (De, Sense::Month(6), "juni"),
    (De, Sense::Month(7), "juli"),
    (De, Sense::Month(10), "oktober okt"),
    (De, Sense::Month(12), "dezember dez"),
    (Fr, Sense::Month(1), "janvier janv"),
    (Fr, Sense::Month(2), "fevrier fevr"),
    (Fr, Sense::Month(3), "mars"),
    (Fr, Sense::Month(4), "avril avr"),
    (Fr, Sense::Month(5), "mai"),
    (Fr, Sense::Month(6), "juin"),
    (Fr, Sense::Month(7), "juillet juil"),
    (Fr, Sense::Month(8), "aout"),
    (Fr, Sense::Month(9), "septembre"),
    (Fr, Sense::Month(10), "octobre"),
    (Fr, Sense::Month(11), "novembre"),
    (Fr, Sense::Month(12), "decembre"),
    (Es, Sense::Month(1), "enero ene"),
    (Es, Sense::Month(2), "febrero"),
    (Es, Sense::Month(3), "marzo"),
    (Es, Sense::Month(4), "abril abr"),
    (Es, Sense::Month(5), "mayo"),
    (Es, Sense::Month(6), "junio"),
    (Es, Sense::Month(7), "julio"),
    (Es, Sense::Month(8), "agosto ago!"),
    (Es, Sense::Month(9), "septiembre setiembre"),
    (Es, Sense::Month(10), "octubre"),
    (Es, Sense::Month(11), "noviembre"),
    (Es, Sense::Month(12), "diciembre dic"),
    (En, Part(2), "half halves"),
    (En, Part(3), "third thirds"),
    (En, Part(4), "quarter quarters fourth fourths"),
    (En, Part(5), "fifth fifths"),
    (En, Part(6), "sixth sixths"),
    (En, Part(8), "eighth eighths"),
    (En, Part(10), "tenth tenths"),
    (En, Part(20), "twentieth twentieths"),
    (De, Part(2), "halfte halb halbe halben halbes halbem halber haelfte"),
    (De, Part(3), "drittel"),
    (De, Part(4), "viertel"),
    (De, Part(5), "funftel fuenftel"),
    (De, Part(6), "sechstel"),
    (De, Part(8), "achtel"),
    (De, Part(10), "zehntel"),
    (Fr, Part(2), "moitie demi demie"),
    (Fr, Part(3), "tiers"),
    (Fr, Part(4), "quart quarts"),
    (Fr, Part(5), "cinquieme cinquiemes"),
    (Fr, Part(10), "dixieme dixiemes"),
    (Es, Part(2), "mitad medio media"),
    (Es, Part(3), "tercio tercios"),
    (Es, Part(4), "cuarto cuartos cuarta"),
    (Es, Part(5), "quinto quintos quinta"),
    (Es, Part(10), "decimo decimos decima"),
    (En, Sense::Rhythm(1), "daily nightly"),
    (En, Sense::Rhythm(7), "weekly wkly weekley weekely"),
    (En, Sense::Rhythm(14), "fortnightly biweekly bw"),
    (En, Sense::Rhythm(0), "monthly quarterly yearly annually semiweekly bimonthly hourly"),
    (De, Sense::Rhythm(1), "taglich tagliche taglicher"),
    (De, Sense::Rhythm(7), "wochentlich wochentliche wochentlicher wochentlichen wochentliches woechentlich woechentliche"),
    (
        De,
        Sense::Rhythm(14),
        "vierzehntagig vierzehntagige vierzehntagiger vierzehntaglich zweiwochentlich zweiwochentliche zweiwochig zweiwochige zweiwoechentlich",
    ),
    (De, Sense::Rhythm(0), "monatlich monatliche monatlicher quartalsweise vierteljahrlich jahrlich"),
    (Fr, Sense::Rhythm(1), "quotidien quotidienne"),
    (Fr, Sense::Rhythm(7), "hebdomadaire hebdomadaires hebdo"),
    (Fr, Sense::Rhythm(0), "mensuel mensuelle mensuels bihebdomadaire trimestriel"),
    (Es, Sense::Rhythm(1), "diario diaria diariamente"),
    (Es, Sense::Rhythm(7), "semanal semanales semanalmente"),
    (Es, Sense::Rhythm(14), "quincenal quincenales quincenalmente"),
    (Es, Sense::Rhythm(0), "mensual mensualmente bisemanal trimestral"),
    (En, Every, "every each per evry"),
    (De, Every, "alle jede jeden jedes jeder pro"),
    (Fr, Every, "tous toutes chaque"),
    (Es, Every, "cada todas todos"),
    (En, Other, "other alternate alternating"),
    (De, Other, "andere anderen"),
    (Es, Other, "otra"),
    (En, Next, "next coming following upcoming nxt"),
    (De, Next, "nachste nachsten nachster nachstes kommenden kommende kommender naechsten naechste"),
    (Fr, Next, "prochain prochaine"),
    (Es, Next, "proximo proxima siguiente"),
    (En, This, "this"),
    (De, This, "diesen diese dieser diesem"),
    (Fr, This, "ce cette"),
    (Es, This, "este esta"),
    (En, Today(0), "today"),
    (En, Today(1), "tomorrow tomorow tommorow"),
    (De, Today(0), "heute"),
    (De, Today(1), "morgen"),
    (De, Today(2), "ubermorgen uebermorgen"),
    (Fr, Today(1), "demain"),
    (Es, Today(0), "hoy"),
    (Es, Today(1), "manana"),
    (En, Percent, "percent percents pct percentage pc"),
    (De, Percent, "prozent"),
    (Fr, Percent, "pourcent"),
    (En, Article, "a an"),
    (De, Article, "ein eine einen einer einem eines"),
    (Fr, Article, "un une"),
    (Es, Article, "un una"),
    (
        En,
        No,
        "neither nor no not without never dont doesnt wont isnt arent cannot cant shouldnt skip skipping omit avoid drop exclude",
    ),
    (De, No, "kein keine keinen keiner keinerlei nicht ohne nie"),
    (Fr, No, "pas! aucun aucune sans jamais ni"),
    (Es, No, "sin! ningun ninguna ninguno nunca tampoco"),
    (En, All, "all everything entire whole full entirety fully"),
    (De, All, "alles gesamte gesamten komplett ganze ganzen"),
    (Fr, All, "tout! totalite"),
    (Es, All, "todo! toda totalidad"),
    (En, Nothing, "nothing none nil zero null nought"),
    (De, Nothing, "nichts null"),
    (Fr, Nothing, "rien"),
    (Es, Nothing, "nada cero"),
    (
        En,
        Vague,
        "some decent fair certain considerable bit little lots plenty most much many majority few several couple handful small large big modest healthy generous reasonable sensible enough sizeable sizable substantial significant decently chunk portion slice bunch longish shortish sufficient tiny huge minimal moderate high low higher lower bigger smaller larger longer shorter long short extra lot",
    ),
    (
        De,
        Vague,
        "etwas einige paar wenig wenige viel viele mehrere grossteil ordentlich ordentlichen gewissen gewisse kleiner grosser genug genugend ausreichend reichlich",
    ),
    (Fr, Vague, "quelques plusieurs peu beaucoup certaine bonne petite grande assez suffisamment"),
    (Es, Vague, "algunas algunos algo poco pocas mucho varias buena parte bastante bastantes mucha muchas muchos suficiente"),
    (En, Sometime, "soon late later early earlier eventually sometime asap immediately promptly whenever shortly"),
    (De, Sometime, "bald spat spater fruh irgendwann sofort demnachst baldmoglichst"),
    (Fr, Sometime, "bientot tard tot rapidement"),
    (Es, Sometime, "pronto tarde temprano"),
    (
        En,
        Small,
        "the of to for with in on at by from and or but so please thanks thank is are be was were will would should we i you they it that then as do does our my your us me have has had can could shall may might if just only also too out over this these those there here up down into again once twice time times sorry actually ok okay yes hi hello want wants like need needs let lets make go keep plan hold run start when what which while after before until till during between than rather instead about around roughly approximately via per first cheers regards",
    ),
    (
        De,
        Small,
        "der die! das den dem des und oder mit von vom zu zum zur im in am an ab auf fur bis bitte danke ist sind wird werden soll sollen wir ich es nach vor",
    ),
    (Fr, Small, "le la les l d de du des et ou avec a au aux en dans pour par sur merci est sont nous on! il"),
    (Es, Small, "el los las del y o con por para en al favor gracias es son! nosotros lo que se"),
];

const NUMBERS: &[(Lang, u32, &str)] = &[
    (En, 0, "zero"),
    (En, 1, "one"),
    (
        En,
        2,
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    ),
    (De, 0, "null"),
    (De, 1, "eins"),
    (
        De,
        2,
        "zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn funfzehn sechzehn siebzehn achtzehn neunzehn",
    ),
    (Fr, 2, "deux trois quatre cinq six sept! huit neuf dix onze douze treize quatorze quinze seize"),
    (Es, 1, "uno"),
    (
        Es,
        2,
        "dos tres cuatro cinco seis siete ocho nueve diez once! doce trece catorce quince dieciseis diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco veintiseis veintisiete veintiocho veintinueve",
    ),
];

const TENS: &[(Lang, &str)] = &[
    (En, "twenty thirty forty fifty sixty seventy eighty ninety"),
    (De, "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig"),
    (Fr, "vingt trente quarante cinquante soixante"),
    (Es, "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa"),
];

const MORE: &[(Lang, u32, &str)] = &[
    (En, 12, "dozen dozens twelfe twelv"),
    (En, 14, "forteen"),
    (En, 40, "fourty"),
    (En, 100, "hundred"),
    (En, 1000, "thousand"),
    (De, 12, "dutzend zwoelf"),
    (De, 5, "fuenf"),
    (De, 15, "fuenfzehn"),
    (De, 50, "fuenfzig"),
    (De, 2, "zwo"),
    (De, 100, "hundert"),
    (De, 1000, "tausend"),
    (Fr, 12, "douzaine"),
    (Fr, 20, "vingts"),
    (Fr, 100, "cent cents"),
    (Fr, 1000, "mille"),
    (Es, 12, "docena"),
    (Es, 100, "cien ciento"),
    (Es, 1000, "mil"),
];

const ORDINALS: &[(Lang, i32, &str)] = &[
    (
        En,
        1,
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
    ),
    (De, 1, "erste zweite dritte vierte funfte sechste siebte achte neunte zehnte elfte zwolfte"),
    (De, 1, "ersten zweiten dritten vierten funften sechsten siebten achten neunten zehnten elften zwolften"),
    (De, 1, "erster zweiter dritter vierter funfter sechster siebter achter neunter zehnter elfter zwolfter"),
    (Fr, 1, "premier deuxieme troisieme quatrieme cinquieme sixieme septieme huitieme neuvieme dixieme onzieme douzieme"),
    (Fr, 1, "premiere seconde"),
    (Es, 1, "primera segunda tercera cuarta quinta sexta septima octava novena decima undecima duodecima"),
    (Es, 1, "primer segundo tercer cuarto quinto sexto septimo octavo noveno decimo"),
    (En, -1, "last final closing"),
    (De, -1, "letzte letzten letzter"),
    (Fr, -1, "dernier derniere"),
    (Es, -1, "ultimo ultima"),
    (En, -2, "penultimate"),
    (De, -2, "vorletzte vorletzten vorletzter"),
    (Fr, -2, "avant-dernier"),
];

/// One meaning of a word in one language; `only` where it holds in texts of that language alone.
#[derive(Clone, Copy, Debug)]
struct Entry {
    lang: Lang,
    only: bool,
    sense: Sense,
}

static ENTRIES: LazyLock<HashMap<String, Vec<Entry>>> = LazyLock::new(|| {
    let mut all: HashMap<String, Vec<Entry>> = HashMap::new();
    let mut add = |lang: Lang, word: &str, sense: Sense| {
        let (word, only) = word.strip_suffix('!').map_or((word, false), |w| (w, true));
        let entries = all.entry(word.to_owned()).or_default();
        if !entries.iter().any(|e| e.lang == lang && e.sense == sense) {
            entries.push(Entry { lang, only, sense });
        }
    };
    for (lang, sense, words) in WORDS {
        words.split(' ').for_each(|word| add(*lang, word, *sense));
    }
    for (lang, first, words) in NUMBERS {
        (*first..).zip(words.split(' ')).for_each(|(n, word)| add(*lang, word, Sense::Num(n)));
    }
    for (lang, words) in TENS {
        for (n, ten) in (2..).zip(words.split(' ')) {
            add(*lang, ten, Sense::Num(n * 10));
            if *lang == De {
                let ones = ["ein", "zwei", "drei", "vier", "funf", "sechs", "sieben", "acht", "neun"];
                (1..).zip(ones).for_each(|(one, word)| add(De, &format!("{word}und{ten}"), Sense::Num(n * 10 + one)));
            }
        }
    }
    MORE.iter().for_each(|(lang, n, words)| words.split(' ').for_each(|word| add(*lang, word, Sense::Num(*n))));
    for (lang, first, words) in ORDINALS {
        let step = i32::from(*first > 0);
        for (n, word) in (0..).zip(words.split(' ')) {
            add(*lang, word, Sense::Ord(first + n * step));
        }
    }
    all
});

/// Words that are no misspelling of ours.
const OTHERS: &str = "there these those where whose while thing things think fight tight night light sever severe money match \
watch marks market markets mark brand grand place plane stores store stock stocks style styles share shares weak speak about above \
after again along among asked batch beach black board books bring broad build buyer buyers carry check chart cheap clean clear close \
cloud count cover daddy dairy depth doing doubt draft dress early enjoy equal event extra final floor focus force forth forum found \
frame fresh front fully funds games given glass goods grade great green group guess guest happy heads heard heavy hello homes horse \
hotel house human ideas image inbox index inner input issue items keeps known label labor large later laugh layer learn least leave \
legal level limit lines links lives local loose lower lunch major maker marry maybe meant media might minor minus mixed model month \
moral motor mount mouse mouth mouths moved movie music needs never noise north noted novel nurse occur ocean offer often order other \
ought outer owner paint panel paper party peace phase phone photo piece pilot pitch plain plans plant plate point pound power press \
price prices pride prime print prior prize promo proof proud prove quick quiet quite radio raise range ranges rapid ratio reach react \
ready refer right river rough round route sales scale scene scope score sense serve setup shall shape sharp sheet shelf shift shirt \
shirts shock shoes shoot shops short shown sides sight since sites skill sleep slice slide small smart smile smoke solid solve sorry \
sound south space spare speed spend spent split spoke sport spring staff stage stand state stays steel stick still stone stood story \
strip stuck study stuff sugar suits sunny super sweet swimwear table taken takes teams terms tests thank thanks their theme thick \
those three threw throw times title today topic total touch tough tower track trade train treat trend trial trust truth types under \
union until upper urban usage usual value video visit vital voice waste water weeks wheel where which white whole whose woman women \
world worry worse worst worth would wrong wrote young yours seasons reason reasons season person lesson hoodies coats jackets \
size sizes sized change changes changed changing choose chosen chose raise raised shift shifted switch lower lowered stick sticks \
share shares shared paces scale scaled split splits touch touches match check checks checked knitwear outerwear denim jeans footwear holiday winter summer autumn launch lunch final";

static KNOWN: LazyLock<std::collections::HashSet<&'static str>> = LazyLock::new(|| OTHERS.split_whitespace().collect());

/// Whether a word is one the tables know, or an everyday word that must not be taken for a misspelt one.
pub(super) fn known(word: &str) -> bool {
    ENTRIES.contains_key(word) || KNOWN.contains(word)
}

/// The words that a misspelt one may stand for: numbers, months, weekdays, units, rhythms.
pub(super) fn repairable() -> impl Iterator<Item = &'static str> {
    let telling = |s: &Sense| {
        matches!(s, Sense::Num(_) | Sense::Month(_) | Sense::Weekday(_) | Sense::Unit(_) | Sense::Rhythm(_) | Percent | Today(_))
    };
    ENTRIES.iter().filter(move |(w, e)| w.len() >= 4 && e.iter().any(|e| telling(&e.sense))).map(|(w, _)| w.as_str())
}

/// Whether a word is one of a language, or an English one.
pub(super) fn spoken(word: &str, lang: Lang) -> bool {
    ENTRIES.get(word).is_some_and(|entries| entries.iter().any(|e| e.lang == lang || e.lang == En))
}

/// All that a word can mean in a text of a language: that language's senses, else English, else any that is not bound to its own.
pub(super) fn senses(word: &str, lang: Lang) -> impl Iterator<Item = Sense> {
    let entries = ENTRIES.get(word).map_or(&[][..], Vec::as_slice);
    let has = |l: Lang| entries.iter().any(|e| e.lang == l);
    let pick = if has(lang) { Some(lang) } else { has(En).then_some(En) };
    entries
        .iter()
        .filter(move |e| pick.map_or(!e.only, |p| e.lang == p || (p == En && lang == En && e.lang == En)))
        .map(|e| e.sense)
}

/// Words by which a language is told.
const MARKS: &[(Lang, &str)] = &[
    (En, "the of and for with weeks week start no every in to we hold keep plan please from at is at"),
    (
        De,
        "der die das ab von vom wochen woche keine kein im am mit bis zum zur ist nicht und bitte wir fur den dem eine ein alle jede start monate prozent zwei lager beginn des dann sollen soll halten nachliefern",
    ),
    (
        Fr,
        "le la les du des et semaines semaine avec sans pas une un dans au aux pour par nous toutes chaque mois depart de d l en debut saison aucune deux",
    ),
    (
        Es,
        "el la los las y semanas semana con sin para cada del una un en por de desde meses inicio temporada dos ninguna empezar que",
    ),
];

static MARKED: LazyLock<HashMap<&'static str, Vec<Lang>>> = LazyLock::new(|| {
    let mut all: HashMap<&'static str, Vec<Lang>> = HashMap::new();
    MARKS.iter().for_each(|(lang, words)| words.split(' ').for_each(|w| all.entry(w).or_default().push(*lang)));
    all
});

/// The language that most words speak for; English where they do not tell.
pub(super) fn language<'w>(words: impl Iterator<Item = &'w str>) -> Lang {
    let mut counts = [0_u32; 4];
    let place = |l: Lang| [En, De, Fr, Es].iter().position(|x| *x == l).unwrap_or(0);
    for word in words {
        MARKED.get(word).into_iter().flatten().for_each(|l| counts[place(*l)] += 1);
    }
    let best = [En, De, Fr, Es].into_iter().rev().max_by_key(|l| (counts[place(*l)], u8::from(*l == En)));
    best.filter(|l| counts[place(*l)] > 0).unwrap_or(En)
}

"""Simulated people for the demo and the tests: each names a film after the mood they care for most.

Every text carries the cues of three moods, so no text has one right answer: only the person's own
ranking of the moods, which their history reveals bit by bit, tells which of the three they choose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.tasks.demo import DEMO_LABELS


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


# No cue holds a label, and no content word is in the cues of two labels or in the filler below:
# whoever reads a text can tell its moods, and only its moods.
CUES: dict[str, tuple[str, ...]] = {
    "funny": (
        "a waiter slipping on a banana peel",
        "a string of clumsy pratfalls",
        "a parrot that heckles the guests",
        "a custard pie thrown by a mime",
        "a punchline told at the worst moment",
        "a plumber stuck in a chicken costume",
    ),
    "scary": (
        "a shape that scratches at the cellar door",
        "a doll whose eyes never blink",
        "whispers from an empty nursery",
        "a hooded figure at the window",
        "footsteps in the locked attic",
        "a piercing shriek in the dark",
    ),
    "romantic": (
        "a stolen kiss in the rain",
        "love letters tied with ribbon",
        "newlyweds holding hands",
        "a candlelit dinner for a couple",
        "a proposal beneath the cherry blossoms",
        "a sweetheart bringing roses",
    ),
    "sad": (
        "a funeral with a single mourner",
        "a mother grieving for her son",
        "a goodbye at a hospital bed",
        "tears over an unopened farewell card",
        "a lonely widower with no visitors",
        "an old dog dying in the snow",
    ),
    "violent": (
        "a brutal knife fight",
        "a gangster gunned down in the street",
        "a bloody brawl with broken bottles",
        "a massacre ordered by a warlord",
        "an ambush that leaves twelve dead",
        "a boxer beaten to a pulp",
    ),
    "magical": (
        "a wand that grants three wishes",
        "a spell cast by a witch",
        "an enchanted mirror that talks",
        "a dragon tamed by sorcery",
        "a potion brewed from moonlight",
        "a wizard with a flying carpet",
    ),
    "futuristic": (
        "a robot that learns to disobey",
        "a starship drifting past Saturn",
        "a city run by artificial intelligence",
        "an android on an assembly line",
        "a colony on the surface of Mars",
        "a brain chip hacked by a corporation",
    ),
    "historical": (
        "a Roman legion marching to Gaul",
        "a medieval king losing his crown",
        "a Tudor queen signing a treaty",
        "a debate in the Victorian parliament",
        "knights laying siege to a castle",
        "the army of Napoleon in retreat",
    ),
    "musical": (
        "a chorus bursting into song",
        "a tap dance on the rooftop",
        "an orchestra rehearsing a symphony",
        "a duet sung at the piano",
        "a jazz band with a trumpet solo",
        "a soprano belting out an aria",
    ),
    "mysterious": (
        "a detective sifting through clues",
        "a riddle carved in stone",
        "an anonymous note in code",
        "an heir who vanished without a trace",
        "a secret society behind a curtain",
        "a puzzling disappearance that is still unsolved",
    ),
    "inspiring": (
        "an underdog winning the marathon",
        "a blind climber reaching the summit",
        "a teacher who believes in failing pupils",
        "a refugee graduating with honours",
        "an injured athlete struggling to walk again",
        "neighbours uniting to rebuild a school",
    ),
    "childlike": (
        "a teddy bear on a picnic",
        "toddlers in a pillow fort",
        "a kitten chasing soap bubbles",
        "a treehouse full of toys",
        "a bedtime story about a bunny",
        "a lollipop on the playground swing",
    ),
}

_SETTINGS = _phrases("""
    in a fishing harbour, on a sleeper train, at a roadside motel, in a mountain hut, on a cargo ship, in a law firm,
    at a county fair, in a desert outpost, on a vineyard, in a shopping mall, at a border crossing, on a canal,
    in an apartment block, on a frozen lake, in a coal town, at a ski resort, in a paper mill, on a cattle ranch,
    in a flower market, at an airport lounge, in a suburban garage, on a ferry, in a museum basement, on a tram,
    at a petrol station, in a tea house, on a remote island, in a bakery, at a golf club, in a swamp,
    on a river barge, in a lighthouse, at a boarding house, in a university library, in a call centre,
    at a racetrack, in a laundromat, on a wheat farm, in a hotel lobby, at a bus depot, in an orange grove,
    in a courthouse""")
_PEOPLE = _phrases("""
    a tax inspector, a retired pilot, a bored clerk, a young chef, a travelling salesman, a stubborn farmer,
    a night porter, a lawyer, a shy librarian, a lorry driver, a photographer, a hairdresser, a weather reporter,
    a goat herder, a dentist, an architect, a postman, a gardener, an estate agent, a customs officer, a ship's cook,
    a geologist, a taxi driver, a divorced banker, a mechanic, a translator, a beekeeper, a tailor, a student,
    a hotel manager, a cyclist, a carpenter, a radio host, a surveyor, a pharmacist, a crane operator, an intern,
    a bricklayer, a wildlife ranger, a novelist, a shopkeeper, an electrician""")
_FRAMES = (
    "{who} {where} comes across {0}, {1} and {2}.",
    "{where}, {who} runs into {0}, then {1}, and finally {2}.",
    "it opens with {0} {where}; {who} soon meets {1} and {2}.",
    "{who} remembers {0}, {1} and {2} from one summer {where}.",
    "first {0}, later {1}: {who} did not expect {2} {where}.",
    "the life of {who} {where} changes after {0}, {1} and {2}.",
    "{0}, {1} and {2}: an odd week for {who} {where}.",
    "{where} there is {0}, and {who} must choose between {1} and {2}.",
)
_FIRST_DAY = date(2020, 1, 1)


@dataclass(frozen=True, slots=True)
class Preference:
    """Preference of a simulated person, hidden from everything that learns.

    Attributes:
        ranking: All labels, most preferred first.
    """

    ranking: tuple[str, ...]

    def choose(self, labels_present: Collection[str]) -> str:
        """The person's answer to a text with these labels: the one they rank highest.

        Raises:
            ValueError: No label of the ranking is present.
        """
        for label in self.ranking:
            if label in labels_present:
                return label
        raise ValueError(f"none of {sorted(labels_present)} is a label")


def simulate(
    *, users: int, history: int, queries: int, seed: int, split: str, tenant: str
) -> tuple[Dataset, dict[UserKey, Preference]]:
    """Simulates people with a history and queries of the demo's task.

    A person depends only on seed, split and their number: another seed or split gives other people,
    and more users leave the first ones as they are.

    Args:
        users: Number of people.
        history: History items a person.
        queries: Queries a person, all later than the history.
        seed: Seed of texts and preferences.
        split: Name of the split.
        tenant: Tenant of all users.

    Returns:
        The data set with its golds, and each person's hidden preference.
    """
    people, golds, preferences = [], {}, {}
    for number in range(users):
        # A string seeds by its SHA-512, the same on every machine and Python release.
        random = Random(f"{seed}/{split}/{number}")
        key = UserKey(tenant, f"{split}-{seed}-{number:04d}")
        preference = Preference(tuple(random.sample(DEMO_LABELS, len(DEMO_LABELS))))
        texts = _texts(random)
        items = []
        for position in range(history):
            text, labels = next(texts)
            items.append(HistoryItem(f"{key.user}-{position}", text, preference.choose(labels), ts=_day(position)))
        asked = []
        for position in range(history, history + queries):
            text, labels = next(texts)
            asked.append(Query(f"{key.user}-{position}", key, text, ts=_day(position)))
            golds[asked[-1].id] = preference.choose(labels)
        people.append(User(key, tuple(items), tuple(asked)))
        preferences[key] = preference
    return Dataset(tuple(people), golds), preferences


def labels_in(text: str) -> tuple[str, ...]:
    """The labels whose cues a text carries, in the order of the text."""
    lowered = text.lower()
    found = {lowered.find(cue.lower()): label for label, cues in CUES.items() for cue in cues}
    return tuple(label for position, label in sorted(found.items()) if position >= 0)


def _texts(random: Random) -> Iterator[tuple[str, list[str]]]:
    while True:
        labels = random.sample(DEMO_LABELS, 3)
        cues = [random.choice(CUES[label]) for label in labels]
        filler = {"who": random.choice(_PEOPLE), "where": random.choice(_SETTINGS)}
        text = random.choice(_FRAMES).format(*cues, **filler)
        yield text[0].upper() + text[1:], labels


def _day(position: int) -> str:
    return (_FIRST_DAY + timedelta(days=position)).isoformat()

"""The ten words of the paper's smaller game, with thirty questions about them."""

from sim.twenty_questions.table import Table

WORDS = ["football", "dog", "banana", "truck", "pants", "computer", "piano", "chair", "pen", "scissors"]
TRUE_OF = {
    "is it alive ?": "dog",
    "does it grow ?": "dog banana",
    "can you eat it ?": "banana",
    "is it yellow ?": "banana pen truck",
    "is it made by people ?": "football truck pants computer piano chair pen scissors",
    "is it made of metal ?": "truck computer scissors",
    "is it made of wood ?": "piano chair",
    "is it made of cloth ?": "pants",
    "does it need power ?": "truck computer",
    "does it have wheels ?": "truck chair",
    "does it have legs ?": "dog pants piano chair",
    "does it have keys ?": "computer piano",
    "does it make sound ?": "dog truck computer piano",
    "does it make music ?": "computer piano",
    "can it move by itself ?": "dog truck",
    "can you ride it ?": "truck",
    "can you wear it ?": "pants",
    "can you throw it ?": "football banana pen",
    "can you hold it in one hand ?": "football banana pen scissors",
    "can you sit on it ?": "truck chair",
    "can you write with it ?": "computer pen",
    "can you cut with it ?": "scissors",
    "can you put it in a pocket ?": "pen scissors",
    "is it heavier than a person ?": "truck piano",
    "is it found in a kitchen ?": "banana chair scissors",
    "is it found in an office ?": "computer chair pen scissors",
    "is it found outside ?": "football dog truck",
    "is it used in sports ?": "football pants",
    "is it sharp ?": "pen scissors",
    "is it long and thin ?": "banana pen scissors",
}
TEN_WORDS = Table(
    names=tuple((word,) for word in WORDS),
    questions={question: frozenset(WORDS.index(word) for word in true.split()) for question, true in TRUE_OF.items()},
)

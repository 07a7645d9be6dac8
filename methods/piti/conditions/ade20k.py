"""ADE20K's 150 classes (SceneParsing, ids 1 to 150; 0 is everything else) as the COCO-Stuff classes nearest to them.

The released mask models know COCO-Stuff's classes alone; the release names no colours of its own for ADE20K.
"""

from __future__ import annotations

from methods.piti.conditions.tables import UNLABELLED

_NAMES = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant street_sign stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe hat backpack umbrella shoe eye_glasses
handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard
tennis_racket bottle plate wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog
pizza donut cake chair couch potted_plant bed mirror dining_table window desk toilet door tv laptop mouse remote
keyboard cell_phone microwave oven toaster sink refrigerator blender book clock vase scissors teddy_bear hair_drier
toothbrush hair_brush banner blanket branch bridge building-other bush cabinet cage cardboard carpet ceiling-other
ceiling-tile cloth clothes clouds counter cupboard curtain desk-stuff dirt door-stuff fence floor-marble floor-other
floor-stone floor-tile floor-wood flower fog food-other fruit furniture-other grass gravel ground-other hill house
leaves light mat metal mirror-stuff moss mountain mud napkin net paper pavement pillow plant-other plastic platform
playingfield railing railroad river road rock roof rug salad sand sea shelf sky-other skyscraper snow solid-other
stairs stone straw structural-other table tent textile-other towel tree vegetable wall-brick wall-concrete
wall-other wall-panel wall-stone wall-tile wall-wood water-other waterdrops window-blind window-other wood
"""

COCO_STUFF_NUMBERS: dict[str, int] = {name: number for number, name in enumerate(_NAMES.split())}
"""COCO-Stuff's 182 classes by name, counted from 0."""

_NEAREST = (
    # 1 to 10
    *("wall-other", "building-other", "sky-other", "floor-other", "tree", "ceiling-other", "road", "bed"),
    *("window-other", "grass"),
    # 11 cabinet to 20 chair
    *("cabinet", "pavement", "person", "ground-other", "door-stuff", "table", "mountain", "plant-other", "curtain"),
    "chair",
    # 21 car, water, painting, sofa, shelf, house, sea, mirror, rug, 30 field
    *("car", "water-other", "paper", "couch", "shelf", "house", "sea", "mirror-stuff", "rug", "grass"),
    # 31 armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, 40 cushion
    *("chair", "chair", "fence", "desk-stuff", "rock", "cupboard", "light", "solid-other", "railing", "pillow"),
    # 41 base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, 50 fireplace
    *("solid-other", "cardboard", "structural-other", "banner", "cabinet", "counter", "sand", "sink", "skyscraper"),
    "wall-brick",
    # 51 refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, 60 stairway
    *("refrigerator", "platform", "pavement", "stairs", "road", "cabinet", "table", "pillow", "door-stuff", "stairs"),
    # 61 river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, 70 bench
    *("river", "bridge", "shelf", "window-blind", "table", "toilet", "flower", "book", "hill", "bench"),
    # 71 countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, 80 hovel
    *("counter", "oven", "tree", "counter", "laptop", "chair", "boat", "counter", "furniture-other", "house"),
    # 81 bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, 90 television
    *("bus", "towel", "light", "truck", "building-other", "light", "roof", "light", "structural-other", "tv"),
    # 91 airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, 100 buffet
    *("airplane", "dirt", "clothes", "structural-other", "ground-other", "railing", "stairs", "furniture-other"),
    *("bottle", "cupboard"),
    # 101 poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, 110 swimming pool
    *("paper", "platform", "car", "boat", "water-other", "structural-other", "roof", "furniture-other", "solid-other"),
    "water-other",
    # 111 stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, 120 ball
    *("chair", "solid-other", "straw", "water-other", "tent", "handbag", "motorcycle", "bed", "oven", "sports_ball"),
    # 121 food, step, tank, trade name, microwave, pot, animal, bicycle, lake, 130 dishwasher
    *("food-other", "stairs", "metal", "banner", "microwave", "potted_plant", "dog", "bicycle", "water-other"),
    "furniture-other",
    # 131 screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, 140 fan
    *("tv", "blanket", "stone", "metal", "light", "vase", "traffic_light", "plate", "solid-other", "metal"),
    # 141 pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, 150 flag
    *("platform", "tv", "plate", "tv", "paper", "wall-tile", "metal", "wine_glass", "clock", "banner"),
)

ADE20K_IDS: dict[int, int] = {
    0: UNLABELLED,
    **{number: COCO_STUFF_NUMBERS[name] for number, name in enumerate(_NEAREST, start=1)},
}
"""ADE20K's ids (files of SceneParsing's ``annotations``)."""

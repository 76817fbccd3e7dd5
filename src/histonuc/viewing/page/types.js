/**
 * What the server sends and what the modules share, as types only.
 * Positions are level-0 pixels of the slide, x to the right, y down.
 * @module
 */

/**
 * @typedef {object} NucleusClass
 * @property {string} name name of the class
 * @property {string} colour "#rrggbb", as in every picture of histonuc
 * @property {string} safe_colour "#rrggbb" that colour-blind people can tell apart
 * @property {number} num_nuclei nuclei of this class in the slide
 */

/**
 * @typedef {object} Column
 * @property {string} name name in the table
 * @property {string} title name for people
 * @property {string} unit unit, empty where there is none
 * @property {"fixed"|"table"} kind always in the server's memory, or read from the table
 * @property {"u8"|"u16"|"f32"} type how it travels
 * @property {number|null} step value = stored number · step; null for f32
 * @property {number|null} low least value
 * @property {number|null} high largest value
 */

/** @typedef {{side_px: number, outlines: boolean, columns: number, rows: number}} SquareGrid */

/**
 * @typedef {object} SlideEntry
 * @property {number} number number of the slide in this session
 * @property {string} name file name of the slide
 * @property {string} folder name of the result's folder
 * @property {"whole"|"unfinished"|"damaged"|"older"|"slide"} state what the result is
 * @property {string} message the state in one sentence
 * @property {boolean} has_nuclei whether there are nuclei to show
 * @property {"shown"|"missing"|"unreadable"} picture whether the slide itself is there
 * @property {[number, number]|null} size_px width and height
 * @property {number|null} mpp microns a pixel
 * @property {[number, number]|null} mpp_xy microns a pixel along x and y
 * @property {number|null} num_nuclei all nuclei
 * @property {NucleusClass[]} classes classes in the order of their numbers
 * @property {number|null} density_per_mm2 nuclei a mm²
 * @property {number} num_warnings warnings of the run
 */

/**
 * @typedef {object} SlideFacts
 * @property {Column[]} columns numeric columns
 * @property {SquareGrid[]} squares grids of squares, fine to coarse
 * @property {number} overhang_px how far an outline reaches out of its square
 * @property {{cell_px: number, columns: number, rows: number}} density grid of counts
 * @property {{tile_px: number, count: number, format: string}|null} picture_levels the picture's pyramid
 * @property {[number, number, number, number]} bounds_xyxy the scanned part
 * @property {string[]} warnings warnings of the run
 * @property {string} class_note what is to be known of the classes; empty for nothing
 * @property {Record<string, number|null>} summary areas in mm²
 * @property {Record<string, string|null>} provenance slide, model, versions
 * @property {string} command command that opens this result
 */

/** @typedef {SlideEntry & SlideFacts & {size_px: [number, number]}} Slide */

/** @typedef {[number|null, number|null]} Range both ends included; null is open */

/** @typedef {{classes?: number[], ranges?: Record<string, Range>}} Filters */

/** @typedef {[number, number]} Point */

/** @typedef {[number, number, number, number]} Box x0, y0, x1, y1 */

/** @typedef {Uint8Array|Uint16Array|Uint32Array|Int16Array|Float32Array} Numbers */

/**
 * @typedef {object} Nucleus
 * @property {number} id 1, 2, 3, …
 * @property {number} x centroid
 * @property {number} y centroid
 * @property {number} class number of the class
 * @property {string} class_name name of the class
 * @property {number[]} probabilities one for each class
 * @property {number} score detection score
 * @property {Box} box_xyxy box around the outline
 * @property {Point[]} outline open ring
 * @property {number} mark what people did to it, a sum of the numbers in `marks_layer.js`
 * @property {Record<string, string|number|null>} row every column of the table
 */

/**
 * @typedef {{id: number, x: number, y: number, class: number, probability: number, score: number,
 *   area_um2: number, value: number|string|null}} ListRow
 */

/** @typedef {{num_nuclei: number, share: number|null, density_per_mm2: number|null, mean_area_um2: number|null}} ClassCount */

/**
 * @typedef {object} RegionCount
 * @property {string} name name of the region
 * @property {string} class_name class of the region
 * @property {number|null} area_mm2 area inside the slide
 * @property {number} num_nuclei nuclei with their centroid inside
 * @property {number|null} density_per_mm2 nuclei a mm²
 * @property {number|null} mean_area_um2 mean area of these nuclei
 * @property {ClassCount[]} classes the same for each class
 */

/** @typedef {{name: string, class_name: string, polygons: Point[][][]}} Region */

/** @typedef {{kind: "skipped"|"flagged"|"ink"|"drawn"|"tissue", text: string, polygons: Point[][][]}} Area */

/**
 * @typedef {object} Field a field of truth
 * @property {string} key its name in the log
 * @property {Point[]} ring its border
 * @property {boolean} complete whether all nuclei in it are right
 * @property {string} by who said so
 * @property {string} time when
 */

/** @typedef {{key: string, id: number|null, place: Point, text: string, by: string, time: string}} Comment */

/**
 * @typedef {object} Conflict a nucleus that people disagree about
 * @property {number} id its number
 * @property {boolean} is_there whether it is shown
 * @property {Point} place its centroid
 * @property {{operation: string, text: string, by: string, time: string}[]} choices what they said
 */

/**
 * @typedef {object} Corrections
 * @property {number} version rises with whatever changes
 * @property {string} by name that corrections are kept under
 * @property {boolean} can_write whether nuclei can be corrected
 * @property {string} why_not why not, in one sentence
 * @property {(NucleusClass & {digit: number|null})[]} classes all classes, those that people made behind the others
 * @property {number} num_corrected nuclei that are not as predicted
 * @property {number} num_held_out nuclei that are never taught
 * @property {Record<string, number>} people who corrected how many
 * @property {string} can_undo what undo takes back; empty for nothing
 * @property {string} can_redo what redo brings back; empty for nothing
 * @property {Field[]} fields fields of truth
 * @property {Comment[]} comments the last of them
 * @property {Conflict[]} conflicts the first of them
 * @property {number} num_conflicts all of them
 * @property {{text: string, place: Point}[]} unmatched corrections of nuclei that are not in this table, the first of them
 * @property {number} num_unmatched all of them
 * @property {string[]} notes what the file of corrections holds that is not applied
 */

/** @typedef {Corrections & {changed_boxes: Box[]|null, made: number[]}} Corrected what a correction answers */

export {};

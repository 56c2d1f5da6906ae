/* libjpeg behind functions that return a code: its errors end in longjmp, which may not cross Rust frames. Every entry
 * sets its own jump target, so a jump only ever crosses frames of libjpeg. */

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jpeglib.h"
#include "jpegint.h"

enum { NK_OK = 0, NK_ERROR = 1, NK_TRUNCATED = 2 };

/* Faster versions of libjpeg's inner loops, of equal results; a null pointer keeps libjpeg's own. */
typedef struct {
  void (*idct)(const JCOEF *coefficients, const UINT16 *quantisers, JSAMPARRAY rows, JDIMENSION column);
  void (*rgb_row)(const JSAMPLE *y, const JSAMPLE *cb, const JSAMPLE *cr, JSAMPLE *out, JDIMENSION count);
} nk_kernels;

/* The pixels wanted: rows and columns, ends excluded. */
typedef struct {
  unsigned top, bottom, left, right;
} nk_region;

typedef struct {
  struct jpeg_decompress_struct cinfo;
  nk_kernels kernels;
  nk_region region;
  /* The blocks that the region needs: rows of MCUs, and per component columns of samples, ends excluded. */
  JDIMENSION first_row, end_row;
  JDIMENSION first_column[4], end_column[4];
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
} nk_jpeg;

/* What Rust wants to know of a frame; mirrored in jpeg.rs. */
typedef struct {
  unsigned width, height;
  int components;
  int colour; /* J_COLOR_SPACE of the file */
  int h[4], v[4];
  int precision;
} nk_info;

static void on_error(j_common_ptr cinfo) {
  nk_jpeg *jpeg = (nk_jpeg *)cinfo->client_data;
  (*cinfo->err->format_message)(cinfo, jpeg->message);
  longjmp(jpeg->jump, 1);
}

static void on_message(j_common_ptr cinfo) { (void)cinfo; }

/* All bytes are there from the start. At their end the decoder is suspended, as Pillow does it, rather than fed with an
 * invented end marker: so a file cut short is told from a whole one. */
static boolean no_more(j_decompress_ptr cinfo) {
  (void)cinfo;
  return FALSE;
}

static void skip(j_decompress_ptr cinfo, long count) {
  struct jpeg_source_mgr *source = cinfo->src;
  if (count <= 0) return;
  size_t step = (size_t)count < source->bytes_in_buffer ? (size_t)count : source->bytes_in_buffer;
  source->next_input_byte += step;
  source->bytes_in_buffer -= step;
}

static void nothing(j_decompress_ptr cinfo) { (void)cinfo; }

static int create(nk_jpeg *jpeg) {
  if (setjmp(jpeg->jump)) return NK_ERROR;
  jpeg_create_decompress(&jpeg->cinfo);
  return NK_OK;
}

/* NULL where there is no memory. */
nk_jpeg *nk_jpeg_new(void) {
  nk_jpeg *jpeg = calloc(1, sizeof(nk_jpeg));
  if (jpeg == NULL) return NULL;
  jpeg->cinfo.err = jpeg_std_error(&jpeg->errors);
  jpeg->errors.error_exit = on_error;
  jpeg->errors.output_message = on_message;
  jpeg->cinfo.client_data = jpeg;
  if (create(jpeg) != NK_OK) {
    jpeg_destroy_decompress(&jpeg->cinfo);
    free(jpeg);
    return NULL;
  }
  jpeg->source.init_source = nothing;
  jpeg->source.fill_input_buffer = no_more;
  jpeg->source.skip_input_data = skip;
  jpeg->source.resync_to_restart = jpeg_resync_to_restart;
  jpeg->source.term_source = nothing;
  return jpeg;
}

void nk_jpeg_free(nk_jpeg *jpeg) {
  if (jpeg == NULL) return;
  /* Cannot fail: it only frees. */
  jpeg_destroy_decompress(&jpeg->cinfo);
  free(jpeg);
}

const char *nk_jpeg_message(const nk_jpeg *jpeg) { return jpeg->message; }

/* Ends whatever went on before, then reads up to the first scan. `bytes` must stay until the last row is read. */
int nk_jpeg_open(nk_jpeg *jpeg, const unsigned char *bytes, size_t count, nk_info *info) {
  struct jpeg_decompress_struct *cinfo = &jpeg->cinfo;
  if (setjmp(jpeg->jump)) return NK_ERROR;
  jpeg_abort_decompress(cinfo);
  cinfo->client_data = jpeg;
  jpeg->message[0] = 0;
  jpeg->source.next_input_byte = bytes;
  jpeg->source.bytes_in_buffer = count;
  cinfo->src = &jpeg->source;
  if (jpeg_read_header(cinfo, TRUE) != JPEG_HEADER_OK) return NK_TRUNCATED;
  memset(info, 0, sizeof *info);
  info->width = cinfo->image_width;
  info->height = cinfo->image_height;
  info->components = cinfo->num_components;
  info->colour = cinfo->jpeg_color_space;
  info->precision = cinfo->data_precision;
  for (int i = 0; i < cinfo->num_components && i < 4; i++) {
    info->h[i] = cinfo->comp_info[i].h_samp_factor;
    info->v[i] = cinfo->comp_info[i].v_samp_factor;
  }
  return NK_OK;
}

static void idct(j_decompress_ptr cinfo, jpeg_component_info *component, JCOEFPTR coefficients, JSAMPARRAY rows,
                 JDIMENSION column) {
  const nk_jpeg *jpeg = (const nk_jpeg *)cinfo->client_data;
  int i = component->component_index;
  if (cinfo->output_iMCU_row < jpeg->first_row || cinfo->output_iMCU_row >= jpeg->end_row) return;
  if (column < jpeg->first_column[i] || column >= jpeg->end_column[i]) return;
  /* A component that no scan has brought has no table yet; libjpeg then multiplies by 0. */
  static const UINT16 none[DCTSIZE2];
  const UINT16 *quantisers = component->quant_table == NULL ? none : component->quant_table->quantval;
  jpeg->kernels.idct(coefficients, quantisers, rows, column);
}

static void convert(j_decompress_ptr cinfo, JSAMPIMAGE in, JDIMENSION row, JSAMPARRAY out, int count) {
  const nk_jpeg *jpeg = (const nk_jpeg *)cinfo->client_data;
  const nk_region *region = &jpeg->region;
  for (int i = 0; i < count; i++, row++) {
    JDIMENSION at = cinfo->output_scanline + (JDIMENSION)i;
    if (at < region->top || at >= region->bottom) continue;
    jpeg->kernels.rgb_row(in[0][row] + region->left, in[1][row] + region->left, in[2][row] + region->left, out[i],
                          region->right - region->left);
  }
}

/* Begins to decode into pixels of colour space `colour`. With kernels for a file of YCbCr, rows hold only the columns
 * of `region`, and rows outside it are not written. */
int nk_jpeg_start(nk_jpeg *jpeg, int colour, const nk_kernels *kernels, const nk_region *region) {
  struct jpeg_decompress_struct *cinfo = &jpeg->cinfo;
  if (setjmp(jpeg->jump)) return NK_ERROR;
  cinfo->out_color_space = (J_COLOR_SPACE)colour;
  cinfo->dct_method = JDCT_ISLOW;
  cinfo->do_fancy_upsampling = TRUE;
  if (!jpeg_start_decompress(cinfo)) return NK_TRUNCATED;
  jpeg->kernels = *kernels;
  jpeg->region = *region;
  if (kernels->idct != NULL) {
    /* Upsampling looks one sample beyond, so one more block and one more row of MCUs on each side are needed. */
    JDIMENSION mcu_height = (JDIMENSION)cinfo->max_v_samp_factor * DCTSIZE;
    JDIMENSION first = region->top / mcu_height;
    jpeg->first_row = first > 0 ? first - 1 : 0;
    jpeg->end_row = (region->bottom + mcu_height - 1) / mcu_height + 1;
    for (int i = 0; i < cinfo->num_components && i < 4; i++) {
      JDIMENSION h = (JDIMENSION)cinfo->comp_info[i].h_samp_factor, max_h = (JDIMENSION)cinfo->max_h_samp_factor;
      JDIMENSION left = region->left * h / max_h / DCTSIZE * DCTSIZE;
      jpeg->first_column[i] = left > 0 ? left - DCTSIZE : 0;
      jpeg->end_column[i] = (region->right * h + max_h - 1) / max_h + 2 * DCTSIZE;
      cinfo->idct->inverse_DCT[i] = idct;
    }
  }
  if (kernels->rgb_row != NULL && colour == JCS_RGB && cinfo->jpeg_color_space == JCS_YCbCr)
    cinfo->cconvert->color_convert = convert;
  return NK_OK;
}

/* Reads one row of pixels. */
int nk_jpeg_row(nk_jpeg *jpeg, unsigned char *row) {
  if (setjmp(jpeg->jump)) return NK_ERROR;
  return jpeg_read_scanlines(&jpeg->cinfo, &row, 1) == 1 ? NK_OK : NK_TRUNCATED;
}

/* Reads what follows the last row. As in Pillow, a missing end is no fault once all rows are there, but nonsense is. */
int nk_jpeg_finish(nk_jpeg *jpeg) {
  if (setjmp(jpeg->jump)) return NK_ERROR;
  (void)jpeg_finish_decompress(&jpeg->cinfo);
  return NK_OK;
}
